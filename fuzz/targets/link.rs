//! Messages between machines: understood and the same when sent on, or refused.
#![no_main]

use card_core::protocol::DraftInput;
use card_core::types::{Rows, Tenant};
use card_wire::{self as wire, Intake, Refusal, SharedVocabulary, proto};
use prost::Message;

const VOCABULARY: SharedVocabulary = SharedVocabulary {
    fingerprint: 1,
    tokens: 1 << 17,
};

fn intake() -> Intake {
    Intake::new(VOCABULARY, 4096, 4)
}

/// A message without its tenant's name, which is another one on each link; and whether that is the
/// shared one.
fn nameless(mut input: DraftInput) -> (bool, String) {
    let shared = match &mut input {
        DraftInput::Open { tenant, .. } | DraftInput::Forget { tenant, .. } => {
            std::mem::replace(tenant, Tenant::SHARED) == Tenant::SHARED
        }
        _ => true,
    };
    (shared, format!("{input:?}"))
}

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if let Ok(message) = proto::ToDrafter::decode(bytes) {
        if let Some(proto::to_drafter::What::Welcome(welcome)) = &message.what {
            let plan = wire::plan(welcome, welcome.sequences);
            assert!(plan.branch >= 1 && plan.cache_bytes >= 1024);
            let theirs = welcome.hello.clone().unwrap_or_default();
            let _ = wire::check(&theirs, VOCABULARY);
            let _ = wire::scope(&theirs.scope);
        }
        let broken = matches!(
            message.what,
            None | Some(proto::to_drafter::What::Welcome(_))
        );
        match intake().take(message) {
            Ok(Some(input)) => {
                let shown = nameless(input.clone());
                let again = intake().take(wire::input_out(input));
                let again = again.expect("what we sent").expect("what we sent");
                assert_eq!(nameless(again), shown);
            }
            Ok(None) => {}
            Err(refusal) => assert_eq!(matches!(refusal, Refusal::Link(_)), broken),
        }
    }
    if let Ok(message) = proto::FromDrafter::decode(bytes)
        && let Ok(drafted) = wire::drafted_in(message, VOCABULARY)
    {
        assert!(drafted.rows.get() <= Rows::MOST);
        assert!(drafted.elapsed <= wire::LONGEST);
        let again = wire::drafted_in(wire::drafted_out(&drafted), VOCABULARY);
        assert_eq!(
            format!("{:?}", again.expect("what we sent")),
            format!("{drafted:?}")
        );
    }
});
