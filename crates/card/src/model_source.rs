//! The models of a server, loaded with their engines when they are asked for.

use std::io::IsTerminal;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use card_core::scheduler::Learned;
use card_engine::Engine;
use card_engine::selftest::Means;
use card_link::ServerSecurity;
use card_server::{DefaultSampling, ListedModel, LoadStage, ModelSource, ServedModel};
use card_setup::models::catalogue::Catalogue;
use card_setup::{
    LoadProgress, PauseWork, RunConfig, SamplingSettings, Settings, Setup, link, room_for,
};

use crate::model_list::{ModelList, name_of};
use crate::served::{ServedTemplate, ServedVocab, served_exactness};

/// How often it is said that a model is still being loaded, where no bar shows it.
const STILL: Duration = Duration::from_secs(15);

/// Where drafters that come by themselves are accepted, and whom is let in.
pub type AcceptAt = (SocketAddr, ServerSecurity);

/// The models of a server.
pub struct ServedModels {
    /// Which there are.
    pub list: ModelList,
    /// Models by name.
    pub catalogue: Catalogue,
    /// How to sample, as far as flags say it.
    pub sampling: SamplingSettings,
    /// Sequences that run at a time.
    pub parallel: u32,
    /// Where drafters are accepted for the model that is loaded first, which is the only one then.
    pub accepting: Mutex<Option<AcceptAt>>,
    /// How far the model is that is being loaded.
    pub progress: LoadProgress,
}

impl ModelSource for ServedModels {
    fn list(&self) -> Vec<ListedModel> {
        let listed = self.list.models.iter().map(|model| ListedModel {
            name: model.name.clone(),
            context: model.settings.asked_context(),
            drafter: named_drafter(&model.settings),
        });
        listed.collect()
    }

    fn default_model(&self) -> Option<String> {
        self.list.default.clone()
    }

    fn load(&self, name: &str) -> Result<ServedModel, String> {
        let settings = self.list.settings(name);
        let settings = settings.ok_or_else(|| format!("there is no model {name:?}"))?;
        let _said = StillLoading::begin(name.to_owned(), self.progress.clone());
        let loaded = self.load_by(name, settings);
        loaded.map_err(|error| format!("{error:#}"))
    }

    fn progress(&self) -> Option<LoadStage> {
        told(&self.progress)
    }

    fn fits(&self, name: &str) -> bool {
        let settings = self.list.settings(name);
        let room = settings.map(|settings| room_for(settings, &self.catalogue));
        match room {
            Some(Ok(room)) => room,
            Some(Err(error)) => {
                // Loading it says what is wrong.
                tracing::debug!("how much memory {name} takes is not known: {error:#}");
                true
            }
            None => true,
        }
    }
}

impl ServedModels {
    /// Loads a model and starts its engine.
    fn load_by(&self, name: &str, settings: &Settings) -> Result<ServedModel> {
        let began = Instant::now();
        let mut setup = Setup::start_telling(settings, &self.catalogue, &self.progress)?;
        let sampling = sampling(self.sampling.or(setup.sampling))?;
        let accepting = self.accepting.lock();
        let accepting = accepting.unwrap_or_else(PoisonError::into_inner).take();
        setup.let_drafters_connect(accepting.is_some());
        let run = RunConfig {
            trace: true,
            learned: setup.learned.clone(),
            sequences: self.parallel,
            ..setup.run()
        };
        let engine = Arc::new(setup.engine(&run)?);
        if let Some((address, security)) = accepting {
            accept(address, security, &setup, &run, &engine)?;
        }
        if setup.guarantee.means == Some(Means::OneClass) && self.parallel > 1 {
            tracing::warn!(
                "with these kernels a text is plain decoding's only if generations run one after \
                 the other, so they do; --kernels card where it is possible, or --exactness fast, \
                 lets them share forwards"
            );
        }
        let measuring = setup.measure_in_pauses(&engine);
        let served = served_model(name, setup, measuring, engine, sampling);
        tracing::info!("{name} is loaded after {:.1?}", began.elapsed());
        if self.list.models.len() == 1 {
            eprintln!("{}", served.exactness.words);
        } else {
            eprintln!("{name}: {}", served.exactness.words);
        }
        if let Some(note) = &served.note {
            eprintln!("{note}");
        }
        Ok(served)
    }
}

/// How far the model is that is being loaded, as the server tells it.
pub fn told(progress: &LoadProgress) -> Option<LoadStage> {
    progress.now().map(|stage| LoadStage {
        what: stage.what.to_owned(),
        percent: stage.percent,
    })
}

/// The draft model that settings name; `None` if they name none, or have one looked for.
fn named_drafter(settings: &Settings) -> Option<String> {
    let draft = settings.draft.as_deref()?;
    let named = !["none", "auto"].contains(&draft);
    named.then(|| name_of(draft))
}

/// How to sample where a request does not say: as was asked for, over OpenAI's defaults. Where
/// nothing is said of what to cut off, the improbable tail is.
fn sampling(asked: SamplingSettings) -> Result<DefaultSampling> {
    let mut usual = DefaultSampling::default().params;
    if asked.cuts_off() {
        usual.min_p = 0.0;
    }
    let params = asked.over(&usual)?;
    tracing::info!(
        "where a request does not say: temperature {}, top-k {}, top-p {}, min-p {}, repeat \
         penalty {}",
        params.temperature,
        params.top_k,
        params.top_p,
        params.min_p,
        params.repeat_penalty
    );
    Ok(DefaultSampling {
        params,
        seed: asked.seed,
    })
}

/// The model as the server knows it. What was set up, and what is measured in its pauses, lives as
/// long as it does.
fn served_model(
    name: &str,
    setup: Setup,
    measuring: Option<PauseWork>,
    engine: Arc<Engine>,
    sampling: DefaultSampling,
) -> ServedModel {
    let emulation = setup.emulation.as_ref();
    let template = setup.template.clone();
    let stem = |path: &Path| {
        let stem = path.file_stem().unwrap_or_default();
        stem.to_string_lossy().into_owned()
    };
    ServedModel {
        file: Some(file_name(setup.target.path())),
        engine,
        tokenizer: Arc::new(ServedVocab(setup.vocab.clone())),
        template: template.map(|t| Arc::new(ServedTemplate(t)) as _),
        name: name.to_owned(),
        context: setup.context,
        note: emulation.map(|e| format!("emulated devices: {}", e.profile.title)),
        exactness: served_exactness(&setup.guarantee),
        embedder: None,
        drafter: setup.draft.as_ref().map(|d| stem(d.llama.path())),
        sampling: Some(sampling),
        keep: Arc::new(move |learned: &Learned| {
            let _measuring = &measuring;
            setup.keep(learned);
        }),
    }
}

/// The name of a file, without the folders that it is in, which are nobody's business.
pub fn file_name(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default();
    name.to_string_lossy().into_owned()
}

/// Takes in drafters that come by themselves.
fn accept(
    address: SocketAddr,
    security: ServerSecurity,
    setup: &Setup,
    run: &RunConfig,
    engine: &Arc<Engine>,
) -> Result<()> {
    let terms = setup.terms_of(run);
    // The engine ends when the server does.
    let engine = Arc::downgrade(engine);
    let came = move |end, scope| match engine.upgrade() {
        Some(engine) => engine.attach(end, scope).map_err(|e| e.to_string()),
        None => Err("the server ends".to_owned()),
    };
    let (said, begun) = channel();
    let ready = said.clone();
    link::runtime()?.spawn(async move {
        let ready = move |address| {
            let _ = ready.send(Ok(address));
        };
        let ended = card_link::serve_targets(address, terms, security, came, ready).await;
        if let Err(error) = ended {
            tracing::warn!("drafters are not accepted any more: {error}");
            let _ = said.send(Err(error));
        }
    });
    let address = begun.recv().context("the link's threads failed")??;
    eprintln!("accepting drafters at {address}");
    Ok(())
}

/// Says now and then that a model is still being loaded, until this is dropped. On a terminal a bar
/// shows that.
struct StillLoading {
    /// Closed when this is dropped.
    _end: Sender<()>,
}

impl StillLoading {
    fn begin(name: String, progress: LoadProgress) -> Self {
        let (end, ended) = channel::<()>();
        let began = Instant::now();
        let say = move || {
            while ended.recv_timeout(STILL) == Err(RecvTimeoutError::Timeout) {
                let seconds = began.elapsed().as_secs();
                let stage = progress.now();
                let stage = stage.map(|s| format!(" ({} at {} %)", s.what, s.percent));
                let stage = stage.unwrap_or_default();
                eprintln!("still loading and measuring {name}, for {seconds} s now{stage}");
            }
        };
        if !std::io::stderr().is_terminal() {
            let thread = std::thread::Builder::new().name("card-still-loading".into());
            if let Err(error) = thread.spawn(say) {
                tracing::debug!("nobody says how long loading takes: {error}");
            }
        }
        StillLoading { _end: end }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tail_is_cut_off_unless_somebody_says_what_is() {
        let min_p = |asked: SamplingSettings| sampling(asked).unwrap().params.min_p;
        let nothing = SamplingSettings::default();
        let temp = SamplingSettings {
            temp: Some(0.7),
            ..nothing
        };
        let top_k = SamplingSettings {
            top_k: Some(40),
            ..nothing
        };
        let all = SamplingSettings {
            min_p: Some(0.0),
            ..nothing
        };
        assert_eq!((min_p(nothing), min_p(temp)), (0.05, 0.05));
        assert_eq!((min_p(top_k), min_p(all)), (0.0, 0.0));
    }

    #[test]
    fn a_drafter_is_named_or_looked_for() {
        let of = |draft: Option<&str>| {
            named_drafter(&Settings {
                draft: draft.map(str::to_owned),
                ..Settings::default()
            })
        };
        assert_eq!(of(Some("folder/small.gguf")).as_deref(), Some("small"));
        for none in [None, Some("none"), Some("auto")] {
            assert_eq!(of(none), None);
        }
    }
}
