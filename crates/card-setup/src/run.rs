//! How one engine shall run the models of a setup.

use card_core::policy::Mode;
use card_core::protocol::Lanes;
use card_core::scheduler::Learned;

use crate::settings::Settings;

/// How one engine shall run the models of a [`Setup`](crate::Setup).
#[derive(Clone, Debug)]
pub struct RunConfig {
    /// How the two models are scheduled.
    pub mode: Mode,
    /// Where the models run; `None` for what measurements say is best.
    pub lanes: Option<Lanes>,
    /// Threads of the target where it has the machine to itself; `None` for what the settings say.
    pub threads: Option<u32>,
    /// Chain length of [`Mode::DraftThenVerify`], in tokens.
    pub draft_len: u32,
    /// Whether draft models propose.
    pub drafts: bool,
    /// Whether the model-free sources propose: prompt lookup, corrections, the prediction.
    pub lookup: bool,
    /// Address of a drafter that stands in for the draft models here. It is on another machine
    /// unless `lanes` says that it shares this one.
    pub drafter: Option<String>,
    /// Emulated latency of the link, one way, in milliseconds; `None` for the profile's.
    pub latency_ms: Option<f64>,
    /// Most memory for the candidates of one sequence, in bytes.
    pub cache_bytes: usize,
    /// Whether every candidate is reported.
    pub trace: bool,
    /// Margin below which decisions are reported as near-ties; `None` for what the self-test
    /// found.
    pub near_tie: Option<f32>,
    /// What earlier runs learned.
    pub learned: Learned,
    /// Sequences that run at a time.
    pub sequences: u32,
}

impl RunConfig {
    /// A run of one sequence by these settings, with nothing learned.
    pub fn of(settings: &Settings) -> Self {
        RunConfig {
            mode: settings.mode,
            lanes: settings.lanes.chosen(),
            threads: None,
            draft_len: settings.draft_len,
            drafts: true,
            lookup: true,
            drafter: None,
            latency_ms: None,
            cache_bytes: settings.cache_kib.saturating_mul(1024),
            trace: false,
            near_tie: None,
            learned: Learned::default(),
            sequences: 1,
        }
    }
}
