//! The rows of a forward, in the memory that llama.cpp reads them from.

use card_core::types::Token;
use llama_cpp_sys_2 as cpp;

use super::memory::SeqId;

/// Owns a `llama_batch`: room for `rows` rows, each of up to `ids` sequence ids.
///
/// Invariants: the first `raw.n_tokens` rows (at most `rows`) are written in full. A batch has
/// either tokens or embeddings of `width` numbers in their place; embeddings are numbers from the
/// start. A batch of tokens may have a hidden state beside each, `states` in all, which llama.cpp
/// reads where it reads embeddings; `raw.embd` is null all the same, except in what
/// [`Batch::raw`] gives.
pub(crate) struct Batch {
    raw: cpp::llama_batch,
    rows: usize,
    ids: usize,
    /// Numbers of an embedding; 0 if the batch has tokens.
    width: usize,
    /// Hidden states beside the tokens, row by row; empty if there are none.
    states: Vec<f32>,
}

// SAFETY: the batch is memory of its own, which nothing else points to.
unsafe impl Send for Batch {}

impl Batch {
    /// Room for so many rows and sequence ids of a row; of embeddings of `width` numbers each, or
    /// of tokens if that is 0. `None` if there is no memory.
    pub(crate) fn new(rows: usize, ids: usize, width: usize) -> Option<Self> {
        let size = |n: usize| i32::try_from(n).ok();
        let (n_rows, n_ids, n_width) = (size(rows)?, size(ids)?, size(width)?);
        // SAFETY: freed in drop; the numbers are not negative.
        let raw = unsafe { cpp::llama_batch_init(n_rows, n_width, n_ids) };
        let mut batch = Batch {
            raw,
            rows,
            ids,
            width,
            states: Vec::new(),
        };
        batch.raw.n_tokens = 0;
        if !batch.is_whole() {
            return None;
        }
        if width > 0 {
            // SAFETY: there is room for so many embeddings; zeros are numbers, and what malloc
            // gives is not.
            unsafe { batch.raw.embd.write_bytes(0, rows * width) };
        }
        Some(batch)
    }

    /// Room for so many rows and sequence ids of a row, of tokens that each have a hidden state of
    /// `width` numbers beside them; the states are zeros at first. `None` if there is no memory.
    pub(crate) fn with_states(rows: usize, ids: usize, width: usize) -> Option<Self> {
        let mut batch = Batch::new(rows, ids, 0)?;
        batch.states = vec![0.0; rows.checked_mul(width)?];
        Some(batch)
    }

    /// The hidden state beside the token of row `i`; empty if the batch has none.
    ///
    /// # Panics
    /// If there is no room for the row.
    pub(crate) fn state_mut(&mut self, i: usize) -> &mut [f32] {
        assert!(i < self.rows, "row {i} of {}", self.rows);
        let width = self.states.len() / self.rows;
        &mut self.states[i * width..(i + 1) * width]
    }

    /// Whether llama.cpp had memory for all parts of the batch; it does not say.
    fn is_whole(&self) -> bool {
        let b = &self.raw;
        let input = if self.width > 0 {
            !b.embd.is_null()
        } else {
            !b.token.is_null()
        };
        let parts = input
            && !b.pos.is_null()
            && !b.n_seq_id.is_null()
            && !b.seq_id.is_null()
            && !b.logits.is_null();
        // SAFETY: the list is as long as the batch has rows.
        parts && (0..self.rows).all(|i| unsafe { !(*b.seq_id.add(i)).is_null() })
    }

    /// Rows that are written.
    pub(crate) fn len(&self) -> usize {
        self.raw.n_tokens as usize
    }

    /// Forgets the rows.
    pub(crate) fn clear(&mut self) {
        self.raw.n_tokens = 0;
    }

    /// The embeddings of the first `rows` rows, one behind the other; empty if the batch has
    /// tokens.
    ///
    /// # Panics
    /// If there is no room for so many rows.
    pub(crate) fn embeddings_mut(&mut self, rows: usize) -> &mut [f32] {
        assert!(rows <= self.rows, "{rows} rows of {}", self.rows);
        if self.width == 0 {
            return &mut [];
        }
        // SAFETY: there is room for so many embeddings, which are numbers from the start.
        unsafe { std::slice::from_raw_parts_mut(self.raw.embd, rows * self.width) }
    }

    /// Writes the next row: its position, the sequence ids its cell belongs to (it attends with
    /// the first), and whether its logits are wanted. A batch of embeddings has no place for the
    /// token.
    ///
    /// # Panics
    /// If there is no room for another row or so many ids.
    pub(crate) fn push(&mut self, token: Token, position: u32, ids: &[SeqId], logits: bool) {
        let n = self.len();
        assert!(n < self.rows, "a row beyond {}", self.rows);
        assert!(ids.len() <= self.ids, "{} ids of {}", ids.len(), self.ids);
        let b = &mut self.raw;
        // SAFETY: row `n` is one of those the batch was made for, and has room for the ids; both
        // were checked. All parts are there (`is_whole`).
        unsafe {
            if self.width == 0 {
                *b.token.add(n) = token as i32;
            }
            *b.pos.add(n) = position as i32;
            *b.n_seq_id.add(n) = ids.len() as i32;
            let list = *b.seq_id.add(n);
            for (i, id) in ids.iter().enumerate() {
                *list.add(i) = *id;
            }
            *b.logits.add(n) = i8::from(logits);
        }
        b.n_tokens += 1;
    }

    /// The batch as llama.cpp reads it; valid as long as `self`.
    pub(crate) fn raw(&self) -> cpp::llama_batch {
        let mut raw = self.raw;
        if !self.states.is_empty() {
            // llama.cpp only reads them.
            raw.embd = self.states.as_ptr().cast_mut();
        }
        raw
    }
}

impl Drop for Batch {
    fn drop(&mut self) {
        // SAFETY: made by llama_batch_init and freed once; parts that are null are left out.
        unsafe { cpp::llama_batch_free(self.raw) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_written_one_behind_the_other() {
        let mut batch = Batch::new(2, 3, 0).unwrap();
        batch.push(7, 4, &[0, 2], true);
        batch.push(8, 5, &[1], false);
        assert_eq!(batch.len(), 2);
        let raw = batch.raw();
        // SAFETY: two rows were written.
        let (tokens, logits, second) = unsafe {
            (
                [*raw.token, *raw.token.add(1)],
                [*raw.logits, *raw.logits.add(1)],
                *(*raw.seq_id).add(1),
            )
        };
        assert_eq!((tokens, logits, second), ([7, 8], [1, 0], 2));
        batch.clear();
        assert_eq!(batch.len(), 0);
    }

    #[test]
    fn embeddings_are_numbers_from_the_start() {
        let mut batch = Batch::new(2, 1, 3).unwrap();
        assert_eq!(batch.embeddings_mut(2), [0.0; 6]);
        assert!(Batch::new(1, 1, 0).unwrap().embeddings_mut(1).is_empty());
    }

    #[test]
    fn a_token_may_have_a_hidden_state_beside_it() {
        let mut batch = Batch::with_states(2, 1, 3).unwrap();
        batch.state_mut(1).fill(0.5);
        batch.push(7, 0, &[0], false);
        batch.push(8, 1, &[0], true);
        let raw = batch.raw();
        // SAFETY: both rows are written, and there is a state of three numbers beside each.
        let (tokens, states) = unsafe {
            (
                std::slice::from_raw_parts(raw.token, 2),
                std::slice::from_raw_parts(raw.embd, 6),
            )
        };
        assert_eq!(tokens, [7, 8]);
        assert_eq!(states, [0.0, 0.0, 0.0, 0.5, 0.5, 0.5]);
        assert!(Batch::new(1, 1, 0).unwrap().state_mut(0).is_empty());
    }

    #[test]
    #[should_panic(expected = "a row beyond 1")]
    fn a_row_too_many_is_not_written() {
        let mut batch = Batch::new(1, 1, 0).unwrap();
        batch.push(1, 0, &[0], true);
        batch.push(2, 1, &[0], true);
    }

    #[test]
    #[should_panic(expected = "2 ids of 1")]
    fn an_id_too_many_is_not_written() {
        Batch::new(1, 1, 0).unwrap().push(1, 0, &[0, 1], true);
    }
}
