//! The size of a forward.

/// Number of rows of one forward: at least one, at most [`Rows::MOST`].
///
/// ```
/// use card_core::types::Rows;
///
/// assert_eq!(Rows::new(0), None, "a forward has a row");
/// assert_eq!(Rows::clamped(0).get(), 1);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Rows(u32);

impl Rows {
    /// More than any batch of a model has.
    pub const MOST: u32 = 4096;

    /// `rows`, if a forward can have so many.
    pub fn new(rows: u32) -> Option<Self> {
        (1..=Rows::MOST).contains(&rows).then_some(Rows(rows))
    }

    /// The possible number nearest to `rows`.
    pub fn clamped(rows: usize) -> Self {
        // It fits: the bound is a u32.
        Rows(rows.clamp(1, Rows::MOST as usize) as u32)
    }

    /// As a number.
    pub fn get(self) -> u32 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_no_forward_has_cannot_be_built() {
        for rows in [0, Rows::MOST + 1, u32::MAX] {
            assert_eq!(Rows::new(rows), None);
        }
        assert_eq!(Rows::new(1).map(Rows::get), Some(1));
        assert_eq!(Rows::new(Rows::MOST).map(Rows::get), Some(Rows::MOST));
        assert_eq!(Rows::clamped(0).get(), 1);
        assert_eq!(Rows::clamped(usize::MAX).get(), Rows::MOST);
    }
}
