//! One look for every page that CARD writes or serves: a style sheet, charts as SVG inside the
//! page, and the frame of a page that is read.
//!
//! A page needs nothing but itself: no script, no font, no picture from elsewhere. Colours are
//! variables of the style sheet, so charts follow the reader's light or dark setting.
//!
//! ```
//! use card_look::{Page, chart::{Bar, BarChart, BarGroup, Unit}};
//!
//! let chart = BarChart {
//!     title: "Speed-up".into(),
//!     axis: "times as fast as plain decoding".into(),
//!     unit: Unit::Times,
//!     most: None,
//!     reference: Some((1.0, "plain decoding".into())),
//!     groups: vec![BarGroup {
//!         name: "code".into(),
//!         bars: vec![Bar { name: "auto".into(), value: 1.7, spread: Some((1.5, 1.9)) }],
//!     }],
//! };
//! let mut page = Page::new("en", "A bench");
//! page.lead("auto writes code 1.7 times as fast as plain decoding.");
//! page.add(&chart.html());
//! assert!(page.finish().contains("<svg"));
//! ```

#![forbid(unsafe_code)]

pub mod chart;
mod escape;
mod page;
mod table;

pub use escape::escape;
pub use page::{Page, terms};
pub use table::{stacked, wide};

/// The style sheet of all pages; `style.css` says what its variables and classes are.
pub const STYLE: &str = include_str!("../style.css");
