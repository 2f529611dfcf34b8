//! Messages between machines: understood and the same when sent on, or refused.
#![no_main]

use card_wire::{self as wire, proto};
use prost::Message;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if let Ok(message) = proto::ToDrafter::decode(bytes) {
        if let Some(proto::to_drafter::What::Welcome(welcome)) = &message.what {
            let plan = wire::plan(welcome);
            assert!(plan.branch >= 1 && plan.cache_bytes >= 1024);
        }
        if let Ok(input) = wire::input_in(message) {
            let shown = format!("{input:?}");
            let again = wire::input_in(wire::input_out(input)).expect("what we sent");
            assert_eq!(format!("{again:?}"), shown);
        }
    }
    if let Ok(message) = proto::FromDrafter::decode(bytes)
        && let Ok(drafted) = wire::drafted_in(message)
    {
        let again = wire::drafted_in(wire::drafted_out(&drafted)).expect("what we sent");
        assert_eq!(format!("{again:?}"), format!("{drafted:?}"));
    }
});
