//! What the registry asks of models.

use std::sync::Arc;

/// A model that is loaded.
pub(crate) trait Resident: Send + Sync + 'static {
    /// What is known of it, and stays known when it was unloaded.
    type Summary: Clone + Send + 'static;

    /// What is known of it.
    fn summary(&self) -> Self::Summary;

    /// Whether something goes on in it for which nobody holds a lease any more, such as a
    /// generation whose client went away.
    fn at_work(&self) -> bool;
}

/// Loads and unloads models by name. All of it may take long, and is done on threads that may
/// wait.
pub(crate) trait Library: Send + Sync + 'static {
    /// A model that is loaded.
    type Model: Resident;

    /// Loads a model.
    ///
    /// # Errors
    /// Why it cannot be loaded, for the operator.
    fn load(&self, name: &str) -> Result<Self::Model, String>;

    /// Whether a model fits the memory that is free now.
    fn fits(&self, name: &str) -> bool;

    /// Unloads a model. Its memory is free when this comes back.
    fn unload(&self, model: Arc<Self::Model>);
}
