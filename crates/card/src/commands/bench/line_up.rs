//! Who takes part in a bench: the modes, or the points of a sweep, and other servers.

use anyhow::{Result, bail};
use card_bench::contest::{Contestant, Runner};
use card_bench::peer::Peer;
use card_bench::report::Sweep;
use card_core::policy::Mode;
use card_core::protocol::Lanes;
use card_core::scheduler::Learned;
use card_core::sources::Corrections;
use card_core::words::counted;
use card_engine::placement::Placement;
use card_llama::Cores;
use card_setup::models::catalogue::Catalogue;
use card_setup::{RunConfig, Settings, Setup, devices, drafting};

use crate::args::{BenchArgs, SweepArg};

/// The margin of every decision is wanted, should a text differ.
const EVERY: f32 = f32::INFINITY;
/// Size of the table of corrections in `--sweep sources`, in bytes.
const CORRECTION_BYTES: usize = 4 << 20;

/// Who is compared, and along what.
pub struct LineUp {
    pub contestants: Vec<Contestant>,
    pub sweep: Option<Sweep>,
}

/// The contestants that `args` ask for, plain decoding first: on all threads, and on another number
/// of them where one is known.
pub fn line_up(args: &BenchArgs, setup: &Setup, catalogue: &Catalogue) -> Result<LineUp> {
    let mut all = LineUp {
        contestants: Vec::new(),
        sweep: None,
    };
    all.add("plain", setup, &run(setup, Mode::Plain))?;
    let here = setup.emulation.is_none() && devices::target_on_cpu(&args.model.settings());
    let threads = other_threads(&setup.placements, setup.threads()).filter(|_| here);
    if let Some(threads) = threads {
        let run = RunConfig {
            threads: Some(threads),
            ..run(setup, Mode::Plain)
        };
        all.add(
            &format!("plain, {}", counted(threads, "thread")),
            setup,
            &run,
        )?;
    }
    match args.sweep {
        None => all.modes(args, setup)?,
        Some(SweepArg::Cache) => all.cache_sizes(setup)?,
        Some(SweepArg::Draft) => all.draft_models(args, setup, catalogue)?,
        Some(SweepArg::Lanes) => all.lanes(setup)?,
        Some(SweepArg::Latency) => all.latencies(setup)?,
        Some(SweepArg::Link) => all.links(setup)?,
        Some(SweepArg::Sources) => all.sources(setup)?,
    }
    let key = args.peer_key.as_ref().map(|key| key.expose().to_owned());
    for url in &args.peer {
        all.contestants.push(Contestant {
            name: format!("peer {url}"),
            plain: false,
            runner: Runner::Peer(Peer::new(url, key.clone())),
        });
    }
    Ok(all)
}

/// The number of threads, other than `own`, on which a forward of one row is known to be fastest.
/// Plain decoding waits for memory, and where other programs take cores, for these: fewer threads
/// may be faster.
fn other_threads(placements: &[Placement], own: usize) -> Option<u32> {
    let one_row = |p: &Placement| {
        let ms = p.target.iter().find(|(rows, _)| *rows == 1)?.1;
        Some((u32::try_from(p.target_threads).ok()?, ms))
    };
    let others = placements.iter().filter(|p| p.target_threads != own);
    let fastest = others
        .filter_map(one_row)
        .min_by(|a, b| a.1.total_cmp(&b.1));
    fastest.map(|(threads, _)| threads)
}

/// A run in this mode, with the margin of every decision.
fn run(setup: &Setup, mode: Mode) -> RunConfig {
    RunConfig {
        mode,
        near_tie: Some(EVERY),
        ..setup.run()
    }
}

impl LineUp {
    fn add(&mut self, name: &str, setup: &Setup, run: &RunConfig) -> Result<()> {
        self.contestants.push(Contestant {
            name: name.to_owned(),
            plain: run.mode == Mode::Plain,
            runner: Runner::Engine(Box::new(setup.engine(run)?)),
        });
        Ok(())
    }

    /// The contestants that follow are points along `x`.
    fn sweep_over(&mut self, x: &str) {
        self.sweep = Some(Sweep {
            x: x.to_owned(),
            points: Vec::new(),
        });
    }

    /// A point of the sweep.
    fn point(&mut self, name: String, x: f64, setup: &Setup, run: &RunConfig) -> Result<()> {
        if let Some(sweep) = &mut self.sweep {
            sweep.points.push((name.clone(), x));
        }
        self.add(&name, setup, run)
    }

    fn modes(&mut self, args: &BenchArgs, setup: &Setup) -> Result<()> {
        if setup.draft.is_some() || setup.has_head() {
            for &draft_len in &args.draft_lens {
                let run = RunConfig {
                    draft_len,
                    ..run(setup, Mode::DraftThenVerify)
                };
                self.add(&format!("draft-then-verify {draft_len}"), setup, &run)?;
            }
        }
        self.add("card", setup, &run(setup, Mode::Card))?;
        self.add("auto", setup, &run(setup, Mode::Auto))
    }

    fn cache_sizes(&mut self, setup: &Setup) -> Result<()> {
        self.sweep_over("KiB of candidates per sequence");
        for kib in [1, 2, 4, 8, 16, 32, 128] {
            let run = RunConfig {
                cache_bytes: kib * 1024,
                ..run(setup, Mode::Card)
            };
            self.point(format!("card, {kib} KiB"), kib as f64, setup, &run)?;
        }
        Ok(())
    }

    fn draft_models(
        &mut self,
        args: &BenchArgs,
        setup: &Setup,
        catalogue: &Catalogue,
    ) -> Result<()> {
        if args.drafts.is_empty() {
            bail!("--sweep draft needs drafters to compare: --drafts a.gguf,b.gguf,…");
        }
        self.sweep_over("MiB of the draft model");
        for draft in &args.drafts {
            let settings = Settings {
                no_memory: true,
                draft: Some(draft.clone()),
                ..args.model.settings()
            };
            let other = Setup::load(&settings, catalogue)?;
            let bytes = other.draft.as_ref().map_or(0, |d| d.info().bytes);
            let mib = bytes as f64 / f64::from(1 << 20);
            let run = run(setup, Mode::Auto);
            self.point(format!("auto, {draft}"), mib, &other, &run)?;
        }
        Ok(())
    }

    fn lanes(&mut self, setup: &Setup) -> Result<()> {
        for (lanes, name) in [
            (Lanes::Shared, "card, in turns"),
            (Lanes::Disjoint, "card, together"),
        ] {
            if setup.placement(Some(lanes)).is_none() {
                continue;
            }
            let run = RunConfig {
                lanes: Some(lanes),
                ..run(setup, Mode::Card)
            };
            self.add(name, setup, &run)?;
        }
        Ok(())
    }

    fn latencies(&mut self, setup: &Setup) -> Result<()> {
        if setup.emulation.is_none() {
            bail!("--sweep latency emulates the link, and devices with it: --emulate a100-70b-1b");
        }
        self.sweep_over("milliseconds one way");
        for ms in [0.0, 1.0, 5.0, 20.0, 50.0, 100.0] {
            let run = RunConfig {
                latency_ms: Some(ms),
                ..run(setup, Mode::Auto)
            };
            self.point(format!("auto, {ms} ms"), ms, setup, &run)?;
        }
        Ok(())
    }

    /// The drafter as a thread of this process, and behind a socket.
    fn links(&mut self, setup: &Setup) -> Result<()> {
        let beside = setup.placement(Some(Lanes::Disjoint));
        let (Some(draft), Some(placement)) = (&setup.draft, beside) else {
            bail!("--sweep link needs a draft model that runs at the same time as the target");
        };
        let (threads, drafter) = (placement.target_threads, placement.draft_threads);
        let (_, cores) = Cores::two_lanes(threads, drafter);
        let url = drafting::beside(draft, cores)?;
        for (name, drafter) in [
            ("card, drafter in this process", None),
            ("card, drafter over a socket", Some(url)),
        ] {
            let run = RunConfig {
                lanes: Some(Lanes::Disjoint),
                drafter,
                ..run(setup, Mode::Card)
            };
            self.add(name, setup, &run)?;
        }
        Ok(())
    }

    fn sources(&mut self, setup: &Setup) -> Result<()> {
        for (name, lookup, mixed, corrections) in [
            ("draft model only", false, true, false),
            ("and prompt lookup", true, true, false),
            ("and corrections, unmixed", true, false, true),
            ("and corrections, mixed", true, true, true),
        ] {
            let mut learned = Learned::default();
            learned.acceptance.unmixed = !mixed;
            if corrections {
                let vocabulary = setup.vocab.fingerprint();
                learned.corrections = Some(Corrections::new(CORRECTION_BYTES, vocabulary));
            }
            let run = RunConfig {
                lookup,
                learned,
                ..run(setup, Mode::Card)
            };
            self.add(name, setup, &run)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_decoding_is_tried_on_the_other_number_of_threads_that_is_fastest() {
        let placement = |threads: usize, ms: f64| Placement {
            lanes: Lanes::Disjoint,
            target_threads: threads,
            draft_threads: 1,
            target: vec![(1, ms), (8, 2.0 * ms)],
            draft: Vec::new(),
        };
        let ways = [placement(8, 10.0), placement(4, 14.0), placement(6, 11.0)];
        assert_eq!(other_threads(&ways, 8), Some(6));
        assert_eq!(other_threads(&ways[..1], 8), None);
        assert_eq!(other_threads(&[], 8), None);
    }
}
