//! What slots hold: the texts of the last native requests that named them.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use card_core::types::{Tenant, Token};

/// The texts of slots. A slot is apart for each tenant: nobody meets what others left in it. There are
/// as many texts as slots and keys, and each fits the context.
#[derive(Default)]
pub(crate) struct SlotTexts {
    texts: Mutex<BTreeMap<(Tenant, usize), Vec<Token>>>,
}

impl SlotTexts {
    /// A slot of a tenant holds a text from now on.
    pub(crate) fn keep(&self, tenant: Tenant, slot: usize, text: Vec<Token>) {
        let mut texts = self.texts.lock().unwrap_or_else(PoisonError::into_inner);
        texts.insert((tenant, slot), text);
    }

    /// The text that a slot of a tenant holds.
    pub(crate) fn get(&self, tenant: Tenant, slot: usize) -> Option<Vec<Token>> {
        let texts = self.texts.lock().unwrap_or_else(PoisonError::into_inner);
        texts.get(&(tenant, slot)).cloned()
    }

    /// A slot of a tenant holds nothing any more; returns what it held.
    pub(crate) fn take(&self, tenant: Tenant, slot: usize) -> Option<Vec<Token>> {
        let mut texts = self.texts.lock().unwrap_or_else(PoisonError::into_inner);
        texts.remove(&(tenant, slot))
    }
}
