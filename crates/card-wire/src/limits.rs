//! The version of the protocol, and how much crosses a link at the most.

/// Sides that differ in this do not understand each other. In 3, an expansion without tokens was
/// refused, and a target could not say that a text is to be forgotten.
pub const PROTOCOL: u32 = 4;

/// Most tokens of one sequence that cross a link.
pub const MOST_CONTEXT: u32 = 1 << 20;

/// Most sequences of one target at a time.
pub const MOST_SEQUENCES: u32 = 64;

/// Most bytes of a message to a drafter. The largest opens a sequence: up to five bytes for
/// each token, and the settings, whose biases take at most 64 KiB.
pub const MOST_BYTES_TO_DRAFTER: usize = 5 * MOST_CONTEXT as usize + (256 << 10);

/// Most bytes of a message from a drafter. A forward of 64 rows, each 256 deep and with 32
/// children, takes a tenth of it.
pub const MOST_BYTES_FROM_DRAFTER: usize = 1 << 20;
