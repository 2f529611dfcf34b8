//! Model files: which there are ([`catalogue`]), where they are kept ([`store`]), and how they
//! are fetched ([`fetch`]).

pub mod catalogue;
pub mod fetch;
mod hub;
mod partial;
mod pip;
pub mod store;
