//! Which rows of a forward llama.cpp decodes in one go, of a model with one state per sequence id.
//!
//! Such a model decodes the same number of tokens of each id at a time. llama.cpp would cut a
//! forward to fit: one token of each sequence, then the next ones of those that have more. Here
//! sequences with as many rows go together, for three reasons:
//!
//! - It is as many forwards of the model, and a sequence's rows are never cut, so their logits
//!   depend less on who else is there.
//! - llama.cpp moves states to put those that it decodes side by side, but not their snapshots. So
//!   once rows that may be left out were decoded, nothing may be moved before the commit: what is
//!   decoded after them goes one sequence at a time, which moves nothing.
//! - Sequences of one row have nothing to leave out, and go first.

use card_core::forward::Row;

/// The indices of the rows, part by part, in the order in which the parts are to be decoded; each
/// sequence's rows are in one part. `snapshots` says whether a commit may leave rows out.
pub(super) fn parts(rows: &[Row], snapshots: bool) -> Vec<Vec<usize>> {
    // Ranges of rows of one sequence each.
    let mut groups: Vec<(usize, Vec<std::ops::Range<usize>>)> = Vec::new();
    let mut start = 0;
    while start < rows.len() {
        let same = rows[start..].iter();
        let count = same
            .take_while(|r| r.sequence == rows[start].sequence)
            .count();
        let range = start..start + count;
        match groups.iter_mut().find(|g| g.0 == count) {
            Some(group) => group.1.push(range),
            None => groups.push((count, vec![range])),
        }
        start += count;
    }
    // Those of one row, then the largest group; stable, so that the same rows give the same parts.
    groups.sort_by_key(|(count, ranges)| (*count > 1, std::cmp::Reverse(ranges.len())));
    let mut parts: Vec<Vec<usize>> = Vec::new();
    let mut may_be_left_out = false;
    for (count, ranges) in groups {
        if may_be_left_out {
            parts.extend(ranges.into_iter().map(|range| range.collect()));
        } else {
            parts.push(ranges.into_iter().flatten().collect());
        }
        may_be_left_out |= snapshots && count > 1;
    }
    parts
}

#[cfg(test)]
mod tests {
    use card_core::types::SequenceId;

    use super::*;

    /// A forward in which the sequences have so many rows.
    fn rows(counts: &[usize]) -> Vec<Row> {
        let of = |(sequence, &count): (u64, &usize)| {
            (0..count).map(move |i| Row {
                sequence: SequenceId(sequence),
                token: 1,
                position: i as u32,
                cell: 1 + i as u64,
                parent: None,
                logits: true,
            })
        };
        (0..).zip(counts).flat_map(of).collect()
    }

    #[test]
    fn sequences_with_as_many_rows_go_together() {
        assert_eq!(parts(&rows(&[2, 2]), false), [[0, 1, 2, 3]]);
        assert_eq!(parts(&rows(&[3, 1, 1]), false), [vec![3, 4], vec![0, 1, 2]]);
        let expected = [vec![2, 5], vec![0, 1, 3, 4], vec![6, 7, 8]];
        assert_eq!(parts(&rows(&[2, 1, 2, 1, 3]), false), expected);
        assert!(parts(&[], true).is_empty());
    }

    #[test]
    fn nothing_is_moved_while_rows_may_be_left_out() {
        let found = parts(&rows(&[2, 3, 3, 1, 2]), true);
        // The two groups of two sequences each do not follow each other whole.
        let expected = [vec![8], vec![0, 1, 9, 10], vec![2, 3, 4], vec![5, 6, 7]];
        assert_eq!(found, expected);
        let free = parts(&rows(&[2, 3, 3, 1, 2]), false);
        assert_eq!(free, [vec![8], vec![0, 1, 9, 10], vec![2, 3, 4, 5, 6, 7]]);
    }
}
