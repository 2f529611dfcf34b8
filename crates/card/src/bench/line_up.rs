//! Who takes part in a bench: the modes, or the points of a sweep, and other servers.

use anyhow::{Result, bail};
use card_bench::contest::{Contestant, Runner};
use card_bench::peer::Peer;
use card_bench::report::Sweep;
use card_core::engine::Memory;
use card_core::policy::{Lanes, Mode};
use card_core::sources::Corrections;
use card_llama::Cores;

use crate::args::{BenchArgs, SweepArg};
use crate::link;
use crate::rig::{Rig, Run};
use card_setup::models::catalogue::Catalogue;

/// Every decision's margin is wanted, should a text differ.
const EVERY: f32 = f32::INFINITY;

/// Who is compared, and along what.
pub struct LineUp {
    pub contestants: Vec<Contestant>,
    pub sweep: Option<Sweep>,
}

impl LineUp {
    fn add(&mut self, name: &str, rig: &Rig, run: &Run) -> Result<()> {
        self.contestants.push(Contestant {
            name: name.to_owned(),
            plain: run.mode == Mode::Plain,
            runner: Runner::Engine(Box::new(rig.engine(run)?)),
        });
        Ok(())
    }

    /// A point of the sweep.
    fn point(&mut self, name: String, x: f64, rig: &Rig, run: &Run) -> Result<()> {
        if let Some(sweep) = &mut self.sweep {
            sweep.points.push((name.clone(), x));
        }
        self.add(&name, rig, run)
    }
}

/// The contestants that `args` ask for, plain decoding first.
pub fn line_up(args: &BenchArgs, rig: &Rig, catalogue: &Catalogue) -> Result<LineUp> {
    let base = Run {
        near_tie: Some(EVERY),
        ..rig.run()
    };
    let of = |mode: Mode| Run {
        mode,
        ..base.clone()
    };
    let sweep_over = |x: &str| {
        Some(Sweep {
            x: x.to_owned(),
            points: Vec::new(),
        })
    };
    let mut all = LineUp {
        contestants: Vec::new(),
        sweep: None,
    };
    all.add("plain", rig, &of(Mode::Plain))?;
    match args.sweep {
        None => {
            for &draft_len in args.draft_lens.iter().filter(|_| rig.draft.is_some()) {
                let run = Run {
                    draft_len,
                    ..of(Mode::DraftThenVerify)
                };
                all.add(&format!("draft-then-verify {draft_len}"), rig, &run)?;
            }
            all.add("card", rig, &of(Mode::Card))?;
            all.add("auto", rig, &of(Mode::Auto))?;
        }
        Some(SweepArg::Cache) => {
            all.sweep = sweep_over("KiB of candidates per sequence");
            for kib in [1, 2, 4, 8, 16, 32, 128] {
                let run = Run {
                    cache_bytes: kib * 1024,
                    ..of(Mode::Card)
                };
                all.point(format!("card, {kib} KiB"), kib as f64, rig, &run)?;
            }
        }
        Some(SweepArg::Draft) => {
            if args.drafts.is_empty() {
                bail!("--sweep draft needs drafters to compare: --drafts a.gguf,b.gguf,…");
            }
            all.sweep = sweep_over("MiB of the draft model");
            for draft in &args.drafts {
                let mut model = args.model.clone();
                model.no_memory = true;
                model.draft = Some(draft.clone());
                let other = Rig::load(&model, catalogue)?;
                let bytes = other.draft.as_ref().map_or(0, |d| d.info().bytes);
                let mib = bytes as f64 / f64::from(1 << 20);
                all.point(format!("auto, {draft}"), mib, &other, &of(Mode::Auto))?;
            }
        }
        Some(SweepArg::Lanes) => {
            for lanes in [Lanes::Shared, Lanes::Disjoint] {
                if rig.placement(Some(lanes)).is_none() {
                    continue;
                }
                let run = Run {
                    lanes: Some(lanes),
                    ..of(Mode::Card)
                };
                let how = match lanes {
                    Lanes::Shared => "card, in turns",
                    Lanes::Disjoint => "card, together",
                };
                all.add(how, rig, &run)?;
            }
        }
        Some(SweepArg::Latency) => {
            if rig.emulation.is_none() {
                bail!(
                    "--sweep latency emulates the link, and devices with it: --emulate a100-70b-1b"
                );
            }
            all.sweep = sweep_over("milliseconds one way");
            for ms in [0.0, 1.0, 5.0, 20.0, 50.0, 100.0] {
                let run = Run {
                    latency_ms: Some(ms),
                    ..of(Mode::Auto)
                };
                all.point(format!("auto, {ms} ms"), ms, rig, &run)?;
            }
        }
        Some(SweepArg::Link) => {
            let beside = rig.placement(Some(Lanes::Disjoint));
            let (Some(draft), Some(placement)) = (&rig.draft, beside) else {
                bail!("--sweep link needs a draft model that runs at the same time as the target");
            };
            let (threads, drafter) = (placement.target_threads, placement.draft_threads);
            let (_, cores) = Cores::two_lanes(threads, drafter);
            let url = link::beside(draft, cores)?;
            for (name, drafter) in [
                ("card, drafter in this process", None),
                ("card, drafter over a socket", Some(url)),
            ] {
                let run = Run {
                    lanes: Some(Lanes::Disjoint),
                    drafter,
                    ..of(Mode::Card)
                };
                all.add(name, rig, &run)?;
            }
        }
        Some(SweepArg::Sources) => {
            let with = |free_sources: bool, mixed: bool, corrections: bool| {
                let mut memory = Memory::default();
                memory.acceptance.unmixed = !mixed;
                if corrections {
                    let vocabulary = rig.vocab.fingerprint();
                    memory.corrections = Some(Corrections::new(4 << 20, vocabulary));
                }
                Run {
                    free_sources,
                    memory,
                    ..of(Mode::Card)
                }
            };
            all.add("draft model only", rig, &with(false, true, false))?;
            all.add("and text at hand", rig, &with(true, true, false))?;
            all.add("and corrections, unmixed", rig, &with(true, false, true))?;
            all.add("and corrections, mixed", rig, &with(true, true, true))?;
        }
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
