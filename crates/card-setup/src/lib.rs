//! From plain settings to loaded models, placements and a running engine.
//!
//! [`Settings`] say which models to load and where. [`Setup::load`] finds the files (and fetches
//! those that are not here), loads the models in the form that is fastest here, measures
//! what forwards cost, and finds the ways to run the pair. [`Setup::start`] does so without waiting
//! for measurements that nobody made yet. [`Setup::engine`] then runs the pair, as a [`RunConfig`]
//! says. What was measured or learned is kept in the user's [`Store`].
//!
//! Progress of what takes long is shown on standard error, as bars.
//!
//! [`Store`]: models::store::Store

#![forbid(unsafe_code)]

mod chat_template;
mod choice;
mod coarse;
mod contexts;
pub mod devices;
mod draft_choice;
mod draft_copy;
mod draft_model;
pub mod drafting;
mod drafting_head;
pub mod embedder;
pub mod emulation;
mod engine;
mod files;
mod findings;
mod fit;
mod footprint;
pub mod guarantee;
pub mod head;
pub mod head_file;
pub mod hub;
pub mod kernels;
mod learned;
pub mod link;
mod load_progress;
pub mod loader;
pub mod local;
pub mod models;
mod named_templates;
mod pause_work;
mod placement;
pub mod progress;
mod quiet;
pub mod rewrite;
mod room;
mod run;
mod sampling;
mod sealed;
pub mod secret;
mod seen_costs;
mod self_test;
mod settings;
mod setup;
mod states;
mod tenant;

pub use draft_model::DraftModel;
pub use footprint::room_for;
pub use guarantee::TextGuarantee;
pub use link::{GuestSettings, LinkSettings};
pub use load_progress::{LoadProgress, LoadingFile};
pub use named_templates::{is_template_name, template_names};
pub use pause_work::PauseWork;
pub use quiet::Quiet;
pub use room::free_here;
pub use run::RunConfig;
pub use sampling::SamplingSettings;
pub use settings::{DraftWeights, DrafterSettings, KernelChoice, LaneChoice, Settings};
pub use setup::Setup;
pub use states::state_times;
pub use tenant::tenant_secret;
