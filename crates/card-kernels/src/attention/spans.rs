//! Which cells the rows of a tile see, and which of them they see together.

use super::kernel::{PAIRS, QUAD};
use super::lanes::LANES;

/// Minus infinity as F16: the mask value of a cell that a row does not see.
const HIDDEN: u16 = 0xfc00;

/// Writes the cells that a row sees to `list`, in their order. Returns them, and whether the mask
/// value of any of them is not zero. Without a mask the row sees every cell.
///
/// # Safety
///
/// The mask has `n_kv` values. `list` has room for `n_kv + 16` numbers and nobody else uses it
/// while the result lives.
#[inline(always)]
pub(super) unsafe fn visible<'a>(
    mask: Option<*const u16>,
    n_kv: usize,
    list: *mut u32,
) -> (&'a [u32], bool) {
    let mut n = 0;
    let mut bias = 0;
    for cell in (0..n_kv).step_by(LANES) {
        let here = LANES.min(n_kv - cell);
        // SAFETY: `here` values from `cell` on exist. At most `cell` cells were written before,
        // and at most 16 are now.
        unsafe {
            let values = match mask {
                None => [0; LANES],
                Some(mask) if here == LANES => {
                    mask.add(cell).cast::<[u16; LANES]>().read_unaligned()
                }
                Some(mask) => {
                    let mut values = [HIDDEN; LANES];
                    for (i, value) in values.iter_mut().take(here).enumerate() {
                        *value = mask.add(cell + i).read_unaligned();
                    }
                    values
                }
            };
            let mut seen = 0;
            let mut set = 0;
            for value in values {
                seen |= value ^ HIDDEN;
                set |= value;
            }
            if seen == 0 {
                // Long runs of cells belong to other sequences, or lie in the future.
            } else if set == 0 {
                for i in 0..LANES {
                    list.add(n + i).write((cell + i) as u32);
                }
                n += here;
            } else {
                for (i, value) in values.into_iter().enumerate() {
                    list.add(n).write((cell + i) as u32);
                    if value != HIDDEN {
                        n += 1;
                        // Without the sign: minus zero adds nothing either.
                        bias |= value << 1;
                    }
                }
            }
        }
    }
    // SAFETY: the first `n` numbers were written, and nobody else uses them.
    (unsafe { std::slice::from_raw_parts(list, n) }, bias != 0)
}

/// Goes through the lists of cells of all rows of a tile, in order.
#[derive(Default)]
pub(super) struct Walk {
    /// How much of each row's list is behind.
    at: [usize; PAIRS],
}

/// A piece of the lists of all rows.
pub(super) struct Span {
    /// Whether all rows see the same cells here.
    shared: bool,
    /// Where the piece begins in each list.
    from: [usize; PAIRS],
    /// Where it ends in each list.
    to: [usize; PAIRS],
}

/// Cells and the pairs of a row and a head that all see them.
pub(super) struct Part<'a> {
    /// The cells.
    pub(super) cells: &'a [u32],
    /// The first pair.
    pub(super) first: usize,
    /// The pair behind the last one.
    pub(super) end: usize,
    /// For each pair, the place of the first cell in its list.
    pub(super) from: [usize; PAIRS],
}

impl Walk {
    /// The next piece: cells that all rows see, or else all cells up to the next of these.
    pub(super) fn advance(&mut self, lists: &[&[u32]]) -> Option<Span> {
        let from = self.at;
        let run = self.shared(lists);
        if run > 0 {
            for at in self.at.iter_mut().take(lists.len()) {
                *at += run;
            }
        } else {
            self.skip(lists);
        }
        (self.at != from).then_some(Span {
            shared: run > 0,
            from,
            to: self.at,
        })
    }

    /// How many of the next cells are the same in all lists.
    fn shared(&self, lists: &[&[u32]]) -> usize {
        let mut run = lists[0].len() - self.at[0];
        let first = &lists[0][self.at[0]..];
        for (list, &at) in lists.iter().zip(&self.at).skip(1) {
            run = common(&first[..run], &list[at..]);
        }
        run
    }

    /// Moves to the next cell that is in all lists, or to the ends of all.
    fn skip(&mut self, lists: &[&[u32]]) {
        loop {
            // The next shared cell is not before the largest of the next cells.
            let mut target = 0;
            let mut ended = false;
            for (list, &at) in lists.iter().zip(&self.at) {
                match list.get(at) {
                    Some(&cell) => target = target.max(cell),
                    None => ended = true,
                }
            }
            if ended {
                for (list, at) in lists.iter().zip(&mut self.at) {
                    *at = list.len();
                }
                return;
            }
            let mut all = true;
            for (list, at) in lists.iter().zip(&mut self.at) {
                while list.get(*at).is_some_and(|&cell| cell < target) {
                    *at += 1;
                }
                all &= list.get(*at) == Some(&target);
            }
            if all {
                return;
            }
        }
    }
}

/// How many leading elements are equal.
fn common(a: &[u32], b: &[u32]) -> usize {
    let mut n = 0;
    for (a, b) in a.chunks_exact(LANES).zip(b.chunks_exact(LANES)) {
        let mut differ = 0;
        for (a, b) in a.iter().zip(b) {
            differ |= a ^ b;
        }
        if differ != 0 {
            break;
        }
        n += LANES;
    }
    n + a[n..]
        .iter()
        .zip(&b[n..])
        .take_while(|(a, b)| a == b)
        .count()
}

impl Span {
    /// Number of parts: one if all rows see the same cells, else one for each row.
    pub(super) fn parts(&self, rows: usize) -> usize {
        if self.shared { 1 } else { rows }
    }

    /// Part number `number`, for rows of `heads` pairs each.
    pub(super) fn part<'a>(&self, number: usize, lists: &[&'a [u32]], heads: usize) -> Part<'a> {
        let rows = if self.shared {
            0..lists.len()
        } else {
            number..number + 1
        };
        let mut from = [0; PAIRS];
        for row in rows.clone() {
            from[row * heads..(row + 1) * heads].fill(self.from[row]);
        }
        let row = rows.start;
        Part {
            cells: &lists[row][self.from[row]..self.to[row]],
            first: rows.start * heads,
            end: rows.end * heads,
            from,
        }
    }
}

/// How many of `left` pairs the next call of a kernel takes, such that the calls are alike.
pub(super) fn quad(left: usize) -> usize {
    match left {
        5 | 6 => 3,
        _ => left.min(QUAD),
    }
}

#[cfg(test)]
mod tests {
    use super::{Walk, common, quad, visible};

    #[test]
    fn a_list_has_the_seen_cells_in_order() {
        for n_kv in [0usize, 1, 15, 16, 17, 64, 100] {
            for step in 1..20usize {
                let mask: Vec<u16> = (0..n_kv)
                    .map(|cell| if cell.is_multiple_of(step) { 0 } else { 0xfc00 })
                    .collect();
                let mut list = vec![0u32; n_kv + 16];
                // SAFETY: the mask has `n_kv` values and the list 16 more.
                let (cells, bias) =
                    unsafe { visible(Some(mask.as_ptr()), n_kv, list.as_mut_ptr()) };
                let expected: Vec<u32> = (0..n_kv as u32).step_by(step).collect();
                assert_eq!(cells, expected);
                assert!(!bias);
            }
        }
        let mask = [0x8000u16, 0xfc00, 0xc000];
        let mut list = [0u32; 19];
        // SAFETY: as above.
        let (cells, bias) = unsafe { visible(Some(mask.as_ptr()), 3, list.as_mut_ptr()) };
        assert_eq!((cells, bias), (&[0, 2][..], true));
        // SAFETY: as above.
        let (cells, bias) = unsafe { visible(Some(mask.as_ptr()), 2, list.as_mut_ptr()) };
        assert_eq!((cells, bias), (&[0][..], false));
        // SAFETY: without a mask only the list is used.
        let (cells, bias) = unsafe { visible(None, 3, list.as_mut_ptr()) };
        assert_eq!((cells, bias), (&[0, 1, 2][..], false));
    }

    /// First pair, the pair behind the last one, and the cells of a part.
    type Found = (usize, usize, Vec<u32>);

    /// Every part of every span, for rows of `heads` pairs.
    fn parts(lists: &[&[u32]], heads: usize) -> Vec<Found> {
        let mut found = Vec::new();
        let mut walk = Walk::default();
        while let Some(span) = walk.advance(lists) {
            for number in 0..span.parts(lists.len()) {
                let part = span.part(number, lists, heads);
                for pair in part.first..part.end {
                    let list = &lists[pair / heads][part.from[pair]..];
                    assert_eq!(&list[..part.cells.len()], part.cells);
                }
                found.push((part.first, part.end, part.cells.to_vec()));
            }
        }
        found
    }

    #[test]
    fn shared_cells_come_together_and_the_others_row_by_row() {
        let a: &[u32] = &[0, 1, 2, 5, 7, 9];
        let b: &[u32] = &[0, 1, 3, 5, 6, 7];
        let none: &[u32] = &[];
        let expected: Vec<Found> = vec![
            (0, 4, vec![0, 1]),
            (0, 2, vec![2]),
            (2, 4, vec![3]),
            (0, 4, vec![5]),
            (0, 2, vec![]),
            (2, 4, vec![6]),
            (0, 4, vec![7]),
            (0, 2, vec![9]),
            (2, 4, vec![]),
        ];
        assert_eq!(parts(&[a, b], 2), expected);
        let expected: Vec<Found> = vec![(0, 3, a.to_vec())];
        assert_eq!(parts(&[a], 3), expected);
        let expected: Vec<Found> = vec![(0, 1, a.to_vec()), (1, 2, vec![])];
        assert_eq!(parts(&[a, none], 1), expected);
        assert!(parts(&[none, none], 1).is_empty());
    }

    #[test]
    fn equal_beginnings_are_counted() {
        let a: Vec<u32> = (0..50).collect();
        for n in 0..a.len() {
            let mut b = a.clone();
            b[n] = 99;
            assert_eq!(common(&a, &b), n);
            assert_eq!(common(&a, &a[..n]), n);
        }
    }

    #[test]
    fn calls_are_alike() {
        let first = [1, 2, 3, 4, 3, 3, 4, 4];
        for (left, n) in (1..).zip(first) {
            assert_eq!(quad(left), n);
        }
    }
}
