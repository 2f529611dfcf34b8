//! What it costs that a forward has another number of rows than the one before it on its lane.
//!
//! The number of rows is a forward's *shape* here. A device may prepare a forward for its shape and
//! keep what it prepared for the next one: llama.cpp's CUDA backend keeps one CUDA graph for a
//! context, and gives it up when the shape changes (docs/shapes.md). Then the first forward of a
//! shape takes longer than later ones, and the second one too, since that is when the graph is
//! recorded.
//!
//! The cost of a change is learned: by how much forwards exceed what was expected, for the first
//! one of a shape, for the second, and for later ones. The expectation cancels out in the
//! differences, so it may be wrong, and a machine that became slower as a whole changes nothing.
//!
//! Whether to go on with a larger shape than is needed, or to change, is the problem of renting or
//! buying skis: going on costs a little each time, changing costs much once. A shape is left when
//! what going on has cost comes to a change. So what is lost is never more than twice what a schedule
//! loses that knows the future (Karlin et al. 1988, *Competitive snoopy caching*). The count begins
//! anew with each forward for which the present shape is the best one: a lane that had left the
//! shape would have to come back now.

use crate::moving_average::MovingAverage;

/// Rows of the largest forward that is filled up to a shape. Larger ones read prompts.
pub(super) const WIDEST: u32 = 32;
/// The weight of a new measurement in a mean, once there are ten.
const GAIN: f64 = MovingAverage::GAIN;
/// So many forwards of a kind are enough to say what they take.
const SOUND: u32 = 3;
/// The most that one forward says: so many times what was expected, too much or too little.
const MOST: f64 = 4.0;
/// A share of a forward's time that may go to repeating a shape while nobody knows what a change
/// costs: only forwards that repeat tell.
const FREE: f64 = 0.05;
/// The share of a change that a step of the ladder may cost, when the shape has to grow: one
/// forward in four that needs no change because of it pays for that.
const STEP: f64 = 0.25;
/// A difference of two means counts if it is more than so many of its standard errors.
const ERRORS: f64 = 3.0;
/// Times below this, in milliseconds, count as zero.
const NOTHING: f64 = 1e-9;
/// Forwards of a shape from the third on.
const LATER: usize = 2;

/// By how much forwards of a kind exceed what was expected, and a variance that forgets the old as
/// the mean does.
#[derive(Clone, Copy, Debug, Default)]
struct Excess {
    ms: MovingAverage,
    variance: f64,
}

impl Excess {
    fn add(&mut self, ms: f64) {
        let off = ms - self.ms.value();
        let gain = self.ms.add(ms);
        self.variance = (1.0 - gain) * (self.variance + gain * off * off);
    }

    /// The mean, once enough was seen.
    fn known(self) -> Option<Excess> {
        (self.ms.count() >= SOUND).then_some(self)
    }

    /// The square of the mean's standard error.
    fn error_squared(self) -> f64 {
        let weight = (1.0 / f64::from(self.ms.count().max(1))).max(GAIN / (2.0 - GAIN));
        weight * self.variance
    }

    /// How much more this is than `other`; 0 if that may be chance.
    fn beyond(self, other: Excess) -> f64 {
        let more = self.ms.value() - other.ms.value();
        let error = (self.error_squared() + other.error_squared()).sqrt();
        if more > ERRORS * error { more } else { 0.0 }
    }
}

/// The shape that a lane is in, and what it costs to leave it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct ShapeChange {
    /// Rows of the last forward; 0 before the first.
    last: u32,
    /// Forwards of that shape before the last one, at most [`LATER`].
    repeats: usize,
    /// Of the first forwards of a shape, the second ones, and the later ones.
    excess: [Excess; 3],
    /// Milliseconds that keeping to the shape has cost since the last change, and since it was last
    /// the best one.
    forgone_ms: f64,
}

impl ShapeChange {
    /// A forward of `rows` took `ms`, where `expected` was expected if anything was. Returns what it
    /// would have taken later in its shape, as far as that is known.
    pub(super) fn observe(&mut self, rows: u32, expected: Option<f64>, ms: f64) -> f64 {
        if rows == self.last {
            self.repeats = (self.repeats + 1).min(LATER);
        } else {
            self.last = rows;
            self.repeats = 0;
            self.forgone_ms = 0.0;
        }
        let extra = self.extra(self.repeats).unwrap_or(0.0);
        if let Some(expected) = expected.filter(|_| rows <= WIDEST) {
            let bound = MOST * expected;
            self.excess[self.repeats].add((ms - expected).clamp(-bound, bound));
        }
        ms - extra
    }

    /// Milliseconds that a forward takes longer than later ones of its shape, by the number of
    /// forwards of the shape before it; `None` if too little was seen.
    fn extra(&self, repeats: usize) -> Option<f64> {
        let later = self.excess[LATER].known()?;
        Some(self.excess[repeats].known()?.beyond(later))
    }

    /// Milliseconds that a change of shape costs; `None` if too little was seen.
    pub(super) fn change_ms(&self) -> Option<f64> {
        Some(self.extra(0)? + self.extra(1).unwrap_or(0.0))
    }

    /// What going to another shape counts for in a decision, if a change costs `change`: what
    /// keeping to this one has cost is taken off.
    pub(super) fn leaving_ms(&self, change: f64) -> f64 {
        (change - self.forgone_ms).max(0.0)
    }

    /// Keeping to the shape costs the next forward so many milliseconds; nothing if it is the best
    /// one for it.
    pub(super) fn forgo(&mut self, ms: f64) {
        if ms <= NOTHING {
            self.forgone_ms = 0.0;
        } else if ms.is_finite() {
            self.forgone_ms += ms;
        }
    }

    /// Whether a forward of so many rows has the shape of the last one.
    pub(super) fn is_last(&self, rows: u32) -> bool {
        rows == self.last
    }

    /// Rows, at most `most`, that a forward best has which needs `rows` of them. `change` is what
    /// a change costs, if that is known, and `ms` what later forwards of a shape take by rows.
    pub(super) fn choose(
        &self,
        rows: u32,
        most: u32,
        change: Option<f64>,
        ms: impl Fn(u32) -> f64,
    ) -> u32 {
        let most = most.min(WIDEST);
        if rows >= most || rows == self.last {
            return rows;
        }
        let kept = Some(self.last).filter(|&last| rows < last && last <= most);
        let Some(change) = change else {
            let free = (1.0 + FREE) * ms(rows);
            return kept.filter(|&last| ms(last) <= free).unwrap_or(rows);
        };
        if change <= 0.0 {
            return rows;
        }
        let ladder = rows.next_power_of_two().min(most);
        let other = if rows > self.last && ms(ladder) - ms(rows) <= STEP * change {
            ladder
        } else {
            rows
        };
        let pays = ms(other) + self.leaving_ms(change);
        kept.filter(|&last| ms(last) <= pays).unwrap_or(other)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Forwards take 1 ms and 0.05 ms for each row.
    fn flat(rows: u32) -> f64 {
        1.0 + 0.05 * f64::from(rows)
    }

    /// After forwards of these rows on a device where the first of a shape takes `extra` longer.
    fn after(extra: f64, rows: &[u32]) -> ShapeChange {
        let mut shape = ShapeChange::default();
        for &n in rows {
            let first = if shape.is_last(n) { 0.0 } else { extra };
            shape.observe(n, Some(flat(n)), flat(n) + first);
        }
        shape
    }

    const MIXED: [u32; 12] = [1, 1, 1, 2, 4, 4, 4, 2, 1, 1, 1, 4];

    #[test]
    fn a_change_is_what_the_first_forward_of_a_shape_takes_longer_than_the_third() {
        assert_eq!(after(1.5, &[1, 2, 3, 4]).change_ms(), None, "none repeats");
        assert_eq!(after(1.5, &[1; 8]).change_ms(), None, "nothing changes");
        let found = after(1.5, &MIXED).change_ms().unwrap();
        assert!((found - 1.5).abs() < 1e-9, "{found}");
        assert_eq!(after(0.0, &MIXED).change_ms(), Some(0.0));
    }

    #[test]
    fn what_a_forward_says_of_its_size_is_free_of_the_change() {
        let mut shape = after(1.5, &MIXED);
        let said = shape.observe(2, Some(flat(2)), flat(2) + 1.5);
        assert!((said - flat(2)).abs() < 1e-9, "{said}");
        let said = shape.observe(2, Some(flat(2)), flat(2));
        assert!((said - flat(2)).abs() < 1e-9, "{said}");
    }

    #[test]
    fn a_machine_that_became_slower_changes_nothing() {
        let mut shape = after(0.0, &MIXED);
        for _ in 0..20 {
            for n in MIXED {
                shape.observe(n, Some(flat(n)), 3.0 * flat(n));
            }
        }
        let found = shape.change_ms().unwrap();
        assert!(found < 0.2, "{found}");
        // Nor does one pause of the machine.
        shape.observe(9, Some(flat(9)), 60_000.0);
        let found = shape.change_ms().unwrap();
        assert!(found < MOST * flat(9) * GAIN, "{found}");
    }

    #[test]
    fn what_is_chance_is_no_change() {
        // Times that lie up to 30 % apart, whatever the shape.
        let mut shape = ShapeChange::default();
        let (mut draw, mut found) = (1_u32, 0);
        for i in 0..4000_usize {
            draw = draw.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let noise = 0.85 + 0.3 * f64::from(draw >> 8) / f64::from(1_u32 << 24);
            let rows = MIXED[i % MIXED.len()];
            shape.observe(rows, Some(flat(rows)), noise * flat(rows));
            found += usize::from(shape.change_ms().is_some_and(|ms| ms > 0.1));
        }
        assert!(found < 80, "{found} of 4000");
    }

    #[test]
    fn the_last_shape_is_kept_where_padding_is_cheaper_than_a_change() {
        let shape = after(1.5, &MIXED);
        let change = shape.change_ms();
        let choose = |shape: &ShapeChange, rows, most| shape.choose(rows, most, change, flat);
        for rows in 1..=4 {
            assert_eq!(choose(&shape, rows, 24), 4, "{rows}");
        }
        // What needs more goes to the next of the ladder, as far as a forward can take it.
        assert_eq!(choose(&shape, 5, 24), 8);
        assert_eq!(choose(&shape, 9, 24), 16);
        assert_eq!(choose(&shape, 5, 6), 6);
        assert_eq!(choose(&shape, 3, 3), 3, "four are not allowed");
        assert_eq!(choose(&shape, 100, 512), 100, "a prompt is read as it is");
        // Rows that cost much are not added.
        let steep = |rows: u32| 10.0 * f64::from(rows);
        assert_eq!(shape.choose(1, 24, change, steep), 1);
        assert_eq!(shape.choose(5, 24, change, steep), 5);
    }

    #[test]
    fn a_shape_is_left_when_keeping_to_it_has_cost_as_much_as_a_change() {
        let mut shape = after(1.5, &MIXED);
        let change = shape.change_ms();
        let mut kept = 0;
        while shape.choose(1, 24, change, flat) == 4 {
            shape.observe(4, Some(flat(4)), flat(4));
            shape.forgo(flat(4) - flat(1));
            kept += 1;
            assert!(kept < 100, "it never changes");
        }
        // A forward of 4 rows takes 0.15 ms more than one of 1 row.
        assert!((9..=11).contains(&kept), "{kept}");
        assert_eq!(shape.choose(1, 24, change, flat), 1);
    }

    #[test]
    fn a_shape_that_is_needed_now_and_then_is_kept() {
        let mut shape = after(1.5, &MIXED);
        let change = shape.change_ms();
        for step in 0..200 {
            // One forward in five needs its 4 rows.
            let needed = if step % 5 == 0 { 4 } else { 1 };
            assert_eq!(shape.choose(needed, 24, change, flat), 4, "{step}");
            shape.observe(4, Some(flat(4)), flat(4));
            shape.forgo(flat(4) - flat(needed));
        }
    }

    #[test]
    fn a_shape_is_repeated_for_next_to_nothing_while_nobody_knows() {
        let free = |rows: u32| 1.0 + 1e-3 * f64::from(rows);
        let shape = after(1.5, &[1, 4]);
        assert_eq!(shape.choose(2, 24, None, free), 4);
        assert_eq!(shape.choose(2, 24, None, flat), 2, "0.1 ms of 1.1");
        assert_eq!(shape.choose(5, 24, None, free), 5);
        assert_eq!(
            shape.choose(2, 24, Some(0.0), free),
            2,
            "it is known not to matter"
        );
    }
}
