//! The ways to run models that a plan tries.

use card_core::policy::Mode;
use card_core::protocol::Lanes;
use card_setup::{RunConfig, Setup};

/// A way to run the models.
pub struct Way {
    pub name: String,
    /// Which of the setups.
    pub setup: usize,
    pub run: RunConfig,
    /// Lines of the settings file that make it so.
    pub settings: Vec<String>,
}

/// The ways to run the pair on this machine, the simpler ones first.
pub fn ways(setup: &Setup) -> Vec<Way> {
    let of = |mode: Mode, lanes: Option<Lanes>| RunConfig {
        mode,
        lanes,
        ..setup.run()
    };
    let mut ways = vec![
        Way {
            name: "plain decoding".into(),
            setup: 0,
            run: of(Mode::Plain, None),
            settings: vec!["mode = \"plain\"".into()],
        },
        Way {
            name: "prompt lookup, no draft model".into(),
            setup: 0,
            run: RunConfig {
                drafts: false,
                ..of(Mode::Auto, None)
            },
            settings: vec!["draft = \"none\"".into()],
        },
    ];
    if setup.draft.is_some() {
        ways.extend(on_lanes(setup));
    }
    ways
}

/// The models of this machine in turns, and at the same time.
fn on_lanes(setup: &Setup) -> Vec<Way> {
    let way = |lanes: Lanes| {
        let placement = setup.placement(Some(lanes))?;
        let (name, mut settings) = match lanes {
            Lanes::Shared => ("in turns", vec!["lanes = \"shared\"".to_owned()]),
            Lanes::Disjoint => ("at the same time", vec!["lanes = \"disjoint\"".to_owned()]),
        };
        settings.push(format!("threads = {}", setup.threads()));
        if lanes == Lanes::Disjoint {
            settings.push(format!("draft-threads = {}", placement.draft_threads));
        }
        Some(Way {
            name: name.to_owned(),
            setup: 0,
            run: RunConfig {
                mode: Mode::Auto,
                lanes: Some(lanes),
                ..setup.run()
            },
            settings,
        })
    };
    [Lanes::Shared, Lanes::Disjoint]
        .into_iter()
        .filter_map(way)
        .collect()
}

/// Another draft model, on the lanes that measurements say are best for it.
pub fn drafted(number: usize, setup: &Setup, draft: &str) -> Option<Way> {
    let best = setup.placement(None)?.lanes;
    let way = on_lanes(setup)
        .into_iter()
        .find(|w| w.run.lanes == Some(best))?;
    let short = draft.rsplit('/').next().unwrap_or(draft);
    let mut settings = way.settings;
    settings.push(format!("draft = {}", quoted(draft)));
    Some(Way {
        name: format!("{}, {short}", way.name),
        setup: number,
        settings,
        ..way
    })
}

/// A drafter on another machine.
pub fn elsewhere(setup: &Setup, url: &str) -> Way {
    Way {
        name: format!("drafter at {url}"),
        setup: 0,
        run: RunConfig {
            mode: Mode::Auto,
            drafter: Some(url.to_owned()),
            ..setup.run()
        },
        settings: vec![
            format!("drafter = [{}]", quoted(url)),
            "draft = \"none\"".into(),
            "# its --link-token or certificates are not written here".into(),
        ],
    }
}

/// A text as a value of TOML.
pub fn quoted(text: &str) -> String {
    toml::Value::from(text).to_string()
}
