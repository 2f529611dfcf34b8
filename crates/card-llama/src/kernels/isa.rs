//! The instruction set that the kernels run by.

use std::sync::OnceLock;

use card_kernels::Isa;

/// The instruction set: the best one here, or the one that `CARD_ISA` names (for measuring).
pub(super) fn isa() -> Isa {
    static ISA: OnceLock<Isa> = OnceLock::new();
    *ISA.get_or_init(|| {
        let wanted = std::env::var("CARD_ISA").ok();
        let all = Isa::available().into_iter();
        let named = |isa: &Isa| wanted.as_deref() == Some(format!("{isa:?}").as_str());
        all.clone()
            .find(named)
            .or(all.last())
            .unwrap_or(Isa::Portable)
    })
}
