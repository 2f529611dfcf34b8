//! Files of scenarios, recordings, reports and metrics.
#![no_main]

use card_sim::{Recording, Scenario};

libfuzzer_sys::fuzz_target!(|text: &str| {
    if let Ok(scenario) = Scenario::parse(text) {
        assert!(scenario.check().is_ok());
    }
    if let Ok(recording) = Recording::parse(text) {
        assert!((0.0..=1.0).contains(&recording.agreement()));
    }
    if let Ok(evidence) = card_bench::roi::from_bench(text) {
        for e in evidence {
            assert!(!e.speed_up().is_nan());
        }
    }
    let _ = card_bench::roi::from_metrics(text);
    let _ = card_bench::prompts::parse("fuzz", text, usize::MAX);
});
