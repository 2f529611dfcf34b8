//! What who uses a model holds.

use std::sync::Arc;

use super::library::Library;
use super::shelf::SharedShelf;

/// The right to use a model. As long as it lives, the model stays loaded.
pub(crate) struct ModelLease<L: Library> {
    shelf: SharedShelf<L::Model>,
    index: usize,
    /// The model.
    pub(crate) model: Arc<L::Model>,
}

impl<L: Library> ModelLease<L> {
    /// The lease of a user whom the shelf counts already.
    pub(super) fn counted(
        shelf: SharedShelf<L::Model>,
        index: usize,
        model: Arc<L::Model>,
    ) -> Self {
        ModelLease {
            shelf,
            index,
            model,
        }
    }
}

impl<L: Library> Drop for ModelLease<L> {
    fn drop(&mut self) {
        self.shelf.lock().given_back(self.index);
    }
}
