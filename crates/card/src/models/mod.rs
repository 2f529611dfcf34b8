//! Model files: the catalogue, where they are kept, how they are fetched.

pub mod catalogue;
pub mod fetch;
pub mod store;
