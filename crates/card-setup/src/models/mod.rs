//! Model files: which there are ([`catalogue`], [`inventory`]), where card keeps its own ([`store`]),
//! how they are fetched ([`fetch`]), which file a name means ([`locate`]), and which model could
//! draft for another ([`drafters`]).

pub mod catalogue;
pub mod drafters;
pub mod fetch;
pub mod inventory;
pub mod locate;
mod partial;
mod pip;
pub mod remove;
pub mod store;
