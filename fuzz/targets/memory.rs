//! What is kept from one run to the next: read whole, or not at all.
#![no_main]

use card_core::acceptance::Acceptance;
use card_core::sources::Corrections;
use card_core::types::{Source, Tenant};

/// The fingerprint of the vocabulary that the seeds were made with.
const VOCABULARY: u64 = 7;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    corrections(bytes);
    // A sum is not guessed: what stands before it is tried with the right one too.
    corrections(&[bytes, &sum(bytes).to_le_bytes()].concat());
    if let Ok(kept) = serde_json::from_slice::<Acceptance>(bytes) {
        assert!(kept.fits());
        for source in Source::ALL {
            assert!((0.0..=1.0).contains(&kept.top(source)));
            assert!((0.0..=1.0).contains(&kept.expect(source, 0.5, 0)));
        }
    }
});

fn corrections(bytes: &[u8]) {
    if let Ok(kept) = Corrections::from_bytes(bytes, VOCABULARY) {
        assert_eq!(kept.to_bytes(), bytes);
        let mut chain = Vec::new();
        kept.propose(Tenant::SHARED, &[1, 2, 3, 4, 5], &mut chain);
        assert!(chain.iter().all(|step| (0.0..=1.0).contains(&step.1)));
    }
}

/// FNV-1a, as the file has it at its end.
fn sum(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}
