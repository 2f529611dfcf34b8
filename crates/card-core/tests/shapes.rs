//! Forwards whose number of rows matters: to what they cost, and to what they compute.

#![allow(clippy::unwrap_used)]

#[allow(dead_code)]
mod common;

use std::time::Duration;

use card_core::policy::Mode;
use card_core::protocol::Lanes;
use card_core::scheduler::Shapes;
use card_core::types::Token;
use common::{LIMITS, Setup, run, settled};

/// Milliseconds that a new number of rows costs on a GPU whose graphs are made anew.
const CHANGE_MS: f64 = 1.5;
/// Of the best of the others, `auto` reaches at least so much.
const LEAST: f64 = 0.88;
/// Least mean of all cells. A text of one cell lies up to a tenth on either side.
const LEAST_MEAN: f64 = 0.98;
/// Noise of a draft model that is often right, and of one that seldom is.
const NOISES: [(&str, f32); 2] = [("high", 0.2), ("low", 1.5)];

/// Where the draft model is.
#[derive(Clone, Copy, Debug)]
enum DraftPlace {
    /// On the target's device, in turns with the target.
    InTurns,
    /// On the target's device, at the same time.
    Together,
    /// On the processor beside the target's device.
    Processor,
    /// On a device of its own.
    Elsewhere,
}

const PLACES: [DraftPlace; 4] = [
    DraftPlace::InTurns,
    DraftPlace::Together,
    DraftPlace::Processor,
    DraftPlace::Elsewhere,
];

/// A target of some billions of weights on a GPU, and a small draft model there or elsewhere.
fn setup(place: DraftPlace, noise: f32, change_ms: f64) -> Setup {
    let gpu = vec![
        (1, 1.1),
        (2, 1.15),
        (4, 1.2),
        (8, 1.4),
        (16, 1.8),
        (24, 2.2),
    ];
    let processor = vec![
        (1, 1.5),
        (2, 2.1),
        (4, 3.2),
        (8, 5.4),
        (16, 9.8),
        (24, 14.2),
    ];
    let on_processor = matches!(place, DraftPlace::Processor);
    Setup {
        lanes: match place {
            DraftPlace::InTurns => Lanes::Shared,
            _ => Lanes::Disjoint,
        },
        draft_noise: Some(noise),
        target_ms: vec![
            (1, 8.4),
            (2, 8.7),
            (4, 9.3),
            (8, 11.0),
            (16, 13.0),
            (24, 14.0),
        ],
        alone: if matches!(place, DraftPlace::Together) {
            0.85
        } else {
            1.0
        },
        draft_points: if on_processor { processor } else { gpu },
        shape_change_ms: [change_ms, if on_processor { 0.0 } else { change_ms }],
        // The first one is for learning what the devices are like.
        prompts: [3, 8, 13].map(prompt).to_vec(),
        max_tokens: 380,
        ..Setup::default()
    }
}

fn prompt(first: Token) -> Vec<Token> {
    (0..5).map(|i| 1 + (first + i) % 22).collect()
}

/// Every way to run the setup but `auto`, with its name.
fn contestants(setup: &Setup) -> Vec<(String, Setup)> {
    let with = |mode, draft_len, draft_noise| Setup {
        mode,
        draft_len,
        draft_noise,
        ..setup.clone()
    };
    let noise = setup.draft_noise;
    let mut all = vec![("plain".to_owned(), with(Mode::Plain, 4, None))];
    for length in 2..=8 {
        let name = format!("chains of {length}");
        all.push((name, with(Mode::DraftThenVerify, length, noise)));
    }
    all.push(("card".to_owned(), with(Mode::Card, 4, noise)));
    all
}

fn auto(setup: &Setup) -> Setup {
    Setup {
        mode: Mode::Auto,
        ..setup.clone()
    }
}

/// What `auto` reaches of the best of the others; a line of the grid is printed.
fn against_the_best(name: &str, setup: &Setup) -> f64 {
    let (out, time) = settled(&auto(setup));
    let text = out.text;
    let mut found: Vec<(String, Duration)> = Vec::new();
    for (name, other) in contestants(setup) {
        let (out, took) = settled(&other);
        assert_eq!(out.text, text, "{name}");
        found.push((name, took));
    }
    let seconds = |d: Duration| d.as_secs_f64();
    let plain = found[0].1;
    let (best, took) = found.iter().min_by_key(|f| f.1).unwrap();
    let ratio = seconds(*took) / seconds(time);
    let speed_up = |d: Duration| seconds(plain) / seconds(d);
    let card = found.last().unwrap().1;
    println!(
        "{name}: auto {:.2}, best {:.2} ({best}), card {:.2}; auto / best {ratio:.3}",
        speed_up(time),
        speed_up(*took),
        speed_up(card),
    );
    ratio
}

#[test]
fn auto_is_as_fast_as_the_best_fixed_schedule_wherever_the_drafter_is() {
    let (mut behind, mut ratios) = (Vec::new(), Vec::new());
    for place in PLACES {
        for (often, noise) in NOISES {
            for change_ms in [0.0, CHANGE_MS] {
                let name = format!("{place:?}, acceptance {often}, shape change {change_ms} ms");
                let ratio = against_the_best(&name, &setup(place, noise, change_ms));
                ratios.push(ratio);
                if ratio < LEAST {
                    behind.push(format!("{name}: {ratio:.3}"));
                }
            }
        }
    }
    assert!(behind.is_empty(), "behind the best: {behind:#?}");
    let mean = ratios.iter().sum::<f64>() / ratios.len() as f64;
    assert!(mean >= LEAST_MEAN, "{mean} of the best in the mean");
}

#[test]
fn a_new_shape_that_costs_time_becomes_rare() {
    let time = |change_ms| settled(&auto(&setup(DraftPlace::InTurns, 0.2, change_ms))).1;
    let (free, dear) = (time(0.0), time(CHANGE_MS));
    // A change in every draft step alone would cost half of all.
    let ratio = free.as_secs_f64() / dear.as_secs_f64();
    assert!(ratio > 0.85, "{ratio:.3}");
}

/// One class of shapes on a device that sums over blocks of cells.
fn one_class(cell_block: usize) -> Shapes {
    Shapes {
        pad_to: 2,
        max_rows: 8,
        alone: true,
        cell_block,
        ..Shapes::FREE
    }
}

#[test]
fn no_forward_goes_over_a_block_of_cells_that_plain_decoding_does_not_go_over() {
    const BLOCK: usize = 16;
    let setup = |mode, shapes, change_ms| Setup {
        mode,
        shapes,
        draft_noise: Some(0.0),
        cell_block: BLOCK,
        shape_change_ms: [change_ms; 2],
        max_tokens: LIMITS.context - 20,
        ..Setup::default()
    };
    let plain = run(&setup(Mode::Plain, one_class(BLOCK), 0.0)).text;
    for mode in [Mode::DraftThenVerify, Mode::Card, Mode::Auto] {
        for change_ms in [0.0, CHANGE_MS] {
            let out = run(&setup(mode, one_class(BLOCK), change_ms));
            assert_eq!(out.text, plain, "{mode:?}");
            assert!(out.mean_accepted() > 1.2, "{}", out.mean_accepted());
        }
    }
    // Where the rule is not kept the text is another one.
    let without = run(&setup(Mode::Card, one_class(0), 0.0)).text;
    assert_ne!(without, plain);
}
