//! How a body is read: once, straight from its bytes, in time linear in their number.
//!
//! Every type here refuses what is outside its bounds while it is read, not after, so that
//! what a body can make the parser hold is bounded by [`limits`](crate::limits).

pub(crate) mod bounded;
pub(crate) mod fields;
pub(crate) mod loose;
pub(crate) mod number;
pub(crate) mod refused;
pub(crate) mod schema;
pub(crate) mod strict;
