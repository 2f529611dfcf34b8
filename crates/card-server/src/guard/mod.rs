//! Who may ask: API keys; and where there are none, no page of somebody else's.

mod host;
mod keys;
mod middleware;
pub(crate) mod site;

pub(crate) use host::{LOCALHOST, is_local_origin};
pub(crate) use middleware::{PAGE_FILES, guard};
