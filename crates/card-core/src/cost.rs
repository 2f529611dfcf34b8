//! What a forward costs: measured points, because real curves jump where kernels change.

mod shape;

use std::collections::BTreeMap;
use std::time::Duration;

use crate::moving_average::MovingAverage;
use crate::types::Rows;
use shape::ShapeChange;

/// Milliseconds of one forward against its number of rows, learned from measurements.
///
/// The curve interpolates between known points, and beyond the last one it prolongs the last
/// slope. Points that were given at the start are believed until forwards of that size are seen.
/// If forwards that are seen take longer than was given, the other given points are taken to be
/// as much too low.
///
/// The curve is of forwards that repeat the number of rows of the forward before them. What it
/// costs to change that number is learned beside it ([`CostCurve::shape_change_ms`]).
///
/// A drafter on another machine tells what its forwards take, and that ends up here. So the
/// number of points is bounded, and so is what a single measurement can say.
///
/// Invariant: `most_ms` of each point is the least expected time of it and all larger points that
/// were seen often enough to be sure of.
///
/// ```
/// use std::time::Duration;
///
/// use card_core::cost::CostCurve;
///
/// let mut curve = CostCurve::from_points([(1, 10.0), (4, 40.0)]);
/// assert_eq!(curve.ms(2), 20.0);
/// // Forwards of one row turn out to take twice as long.
/// for _ in 0..60 {
///     curve.observe(1, Duration::from_millis(20));
/// }
/// assert!((curve.ms(1) - 20.0).abs() < 1.0);
/// assert!((curve.ms(4) - 80.0).abs() < 4.0);
/// ```
#[derive(Clone, Debug)]
pub struct CostCurve {
    points: BTreeMap<u32, CostPoint>,
    /// How many times longer forwards take than was given at the start.
    drift: f64,
    /// The number of rows of the last forward, and what another number costs.
    shape: ShapeChange,
    /// What a change of shape costs, 0 if that hardly matters; `None` if too little was seen.
    change: Option<f64>,
}

#[derive(Clone, Copy, Debug, Default)]
struct CostPoint {
    /// Milliseconds as given at the start.
    given: Option<f64>,
    /// Milliseconds of the forwards that were seen.
    seen: MovingAverage,
    /// The least milliseconds that this size or a larger one takes, among those that were seen
    /// [`SOUND`] times; infinite if none was. A forward of fewer rows takes no more than that.
    most_ms: f64,
}

/// The weight of a new measurement in what forwards take longer than was given.
const GAIN: f64 = MovingAverage::GAIN;
/// So many measurements of one size are enough to correct what is expected of smaller sizes.
const SOUND: u32 = 3;
/// A time that was given at the start has the weight of so many measurements.
const GIVEN: f64 = 1.0;
/// When points are given anew, all that was seen of a size before has the weight of at most so many
/// forwards.
const FEW: u32 = 2;
/// The least and the most milliseconds that a measured forward counts as: a time of 0 would make it
/// free, and a lane that stood still says nothing of its forwards.
const MEASURED: (f64, f64) = (1e-3, 60_000.0);
/// The same for a forward that is given at the start.
const BELIEVED: (f64, f64) = (1e-9, 3.6e6);
/// A change of shape that costs less than this share of a forward of one row counts as free: the
/// times of like forwards differ by about as much.
const LEAST_CHANGE: f64 = 0.1;

impl CostPoint {
    /// Expected milliseconds: the given value, corrected by the drift, and the mean of what was
    /// seen, by their weights.
    fn ms(&self, drift: f64) -> f64 {
        let Some(given) = self.given else {
            return self.seen.value();
        };
        let seen = f64::from(self.seen.count());
        (GIVEN * given * drift + seen * self.seen.value()) / (GIVEN + seen)
    }
}

impl Default for CostCurve {
    fn default() -> Self {
        CostCurve {
            points: BTreeMap::new(),
            drift: 1.0,
            shape: ShapeChange::default(),
            change: None,
        }
    }
}

impl CostCurve {
    /// The most sizes that are remembered because they were seen. Beyond that the size that was
    /// seen least makes room.
    pub const MOST_SEEN: usize = 64;
    /// Rows of the largest forward that is ever filled up to repeat a shape.
    pub const WIDEST_SHAPE: u32 = shape::WIDEST;

    /// A curve through given `(rows, milliseconds)` points. A point whose time is negative or no
    /// number is left out.
    pub fn from_points(points: impl IntoIterator<Item = (u32, f64)>) -> Self {
        let given = |ms: f64| CostPoint {
            given: Some(ms.clamp(BELIEVED.0, BELIEVED.1)),
            ..CostPoint::default()
        };
        let points = points.into_iter().filter(|p| p.1 >= 0.0);
        let mut curve = CostCurve {
            points: points.map(|(rows, ms)| (rows, given(ms))).collect(),
            ..CostCurve::default()
        };
        curve.note_larger();
        curve
    }

    /// Takes in `(rows, milliseconds)` points that were measured anew, in place of those that were
    /// given at the start; what was seen of forwards since then stays, with little weight. A point
    /// whose time is negative or no number is left out.
    ///
    /// ```
    /// use card_core::cost::CostCurve;
    ///
    /// let mut curve = CostCurve::from_points([(1, 10.0), (8, 80.0)]);
    /// curve.give([(1, 10.0), (4, 12.0), (8, 14.0)]);
    /// assert_eq!(curve.ms(4), 12.0);
    /// ```
    pub fn give(&mut self, points: impl IntoIterator<Item = (u32, f64)>) {
        let given = CostCurve::from_points(points);
        if given.is_empty() {
            return;
        }
        self.points.retain(|_, p| p.seen.count() > 0);
        for point in self.points.values_mut() {
            point.given = None;
            point.seen.weigh_at_most(FEW);
        }
        for (rows, new) in given.points {
            self.points.entry(rows).or_default().given = new.given;
        }
        self.drift = 1.0;
        self.note_larger();
    }

    /// Whether nothing was measured yet.
    pub fn is_empty(&self) -> bool {
        self.points.is_empty()
    }

    /// The known `(rows, milliseconds)` points.
    pub fn points(&self) -> impl Iterator<Item = (u32, f64)> + '_ {
        self.points.iter().map(|(&rows, p)| (rows, self.value(p)))
    }

    /// Expected milliseconds at a point.
    fn value(&self, point: &CostPoint) -> f64 {
        point.ms(self.drift)
    }

    /// Sets `most_ms` of every point.
    fn note_larger(&mut self) {
        let mut least = f64::INFINITY;
        for point in self.points.values_mut().rev() {
            if point.seen.count() >= SOUND {
                least = least.min(point.ms(self.drift));
            }
            point.most_ms = least;
        }
    }

    /// Learns that a forward of `rows`, padding included, took `elapsed`. Outliers (a machine that
    /// paused) are cut to twice the estimate.
    pub fn observe(&mut self, rows: u32, elapsed: Duration) {
        let rows = rows.clamp(1, Rows::MOST);
        let ms = (elapsed.as_secs_f64() * 1e3).clamp(MEASURED.0, MEASURED.1);
        let known = self.points.get(&rows).map(|p| self.value(p));
        if known.is_none() {
            self.make_room();
        }
        let ms = self.shape.observe(rows, known, ms).max(MEASURED.0);
        let ms = known.map_or(ms, |known| ms.min(2.0 * known));
        let point = self.points.entry(rows).or_default();
        point.seen.add(ms);
        if let Some(given) = point.given.filter(|g| *g > 0.0) {
            self.drift += GAIN * (ms / given - self.drift);
        }
        self.note_larger();
        let least = LEAST_CHANGE * self.ms(1);
        let matters = |change: f64| if change >= least { change } else { 0.0 };
        self.change = self.shape.change_ms().map(matters);
    }

    /// Forgets the size that was seen least, if there are too many; of several such sizes the
    /// largest.
    fn make_room(&mut self) {
        let seen = self.points.iter().filter(|(_, p)| p.given.is_none());
        if seen.clone().count() < CostCurve::MOST_SEEN {
            return;
        }
        let least = seen.min_by_key(|(rows, p)| (p.seen.count(), std::cmp::Reverse(**rows)));
        if let Some(rows) = least.map(|(&rows, _)| rows) {
            self.points.remove(&rows);
        }
    }

    /// Expected milliseconds of a forward of `rows`. Without any measurement every row costs one
    /// unit, so that a schedule can be made before the first forward.
    pub fn ms(&self, rows: u32) -> f64 {
        let rows = rows.max(1);
        // No more than what larger forwards were seen to take: a size that is seldom seen may
        // have been measured while the machine was busy.
        let larger = self.points.range(rows..).next();
        let most = larger.map_or(f64::INFINITY, |(_, p)| p.most_ms);
        self.between(rows).min(most)
    }

    /// Milliseconds that a forward takes longer if it has another number of rows than the one before
    /// it on its lane; 0 as long as too little was seen, or where that hardly matters. It is learned
    /// from the forwards that are observed: what the first and the second of a number of rows take
    /// longer than later ones do.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use card_core::cost::CostCurve;
    ///
    /// let mut curve = CostCurve::from_points([(1, 1.1), (8, 1.4)]);
    /// for _ in 0..4 {
    ///     for (rows, ms) in [(1, 2.6), (1, 1.1), (1, 1.1), (8, 2.9), (8, 1.4), (8, 1.4)] {
    ///         curve.observe(rows, Duration::from_secs_f64(ms / 1e3));
    ///     }
    /// }
    /// assert!((curve.shape_change_ms() - 1.5).abs() < 0.2);
    /// // The last forward had 8 rows, so one of 3 is best filled up to 8.
    /// assert_eq!(curve.shape_for(3, 16), 8);
    /// assert!((curve.next_ms(3, 16) - 1.4).abs() < 0.2);
    /// ```
    pub fn shape_change_ms(&self) -> f64 {
        self.change.unwrap_or(0.0)
    }

    /// Rows that the next forward best has if it needs `rows` of them: more where padding is
    /// cheaper than another number of rows than the last forward had. A forward cannot have more
    /// than `most`; with 0 it is not filled up.
    pub fn shape_for(&self, rows: u32, most: u32) -> u32 {
        let rows = rows.max(1);
        let ms = |rows| self.ms(rows);
        self.shape.choose(rows, most, self.change, ms)
    }

    /// What the next forward counts for, in milliseconds, if it needs `rows` rows and is filled up
    /// as [`CostCurve::shape_for`] says: the time of its rows, its padding, and a change of shape
    /// less what was forgone to avoid one ([`CostCurve::forgo`]).
    pub fn next_ms(&self, rows: u32, most: u32) -> f64 {
        let shape = self.shape_for(rows, most);
        let change = self.change.filter(|_| !self.shape.is_last(shape));
        self.ms(shape) + change.map_or(0.0, |change| self.shape.leaving_ms(change))
    }

    /// Says that the next forward loses so many milliseconds because it repeats the shape of the
    /// last one, or nothing. When these losses come to what a change costs, the shape is given up;
    /// a forward that loses nothing lets them begin anew.
    pub fn forgo(&mut self, ms: f64) {
        self.shape.forgo(ms);
    }

    /// Whether the last forward had so many rows.
    pub(crate) fn is_in_shape(&self, rows: u32) -> bool {
        self.shape.is_last(rows)
    }

    /// Goes on from the forwards that `other`, a curve of the same lane, has seen last.
    pub(crate) fn go_on_from(&mut self, other: &CostCurve) {
        self.shape = other.shape;
        self.change = other.change;
    }

    /// The most rows, at least one and at most `most`, whose forward takes no longer than `ms`
    /// milliseconds with `beside` other rows in it. Multiples of 16 are tried, below 32 those of
    /// 4, and below 8 every number: a forward of a size that is new costs some devices time.
    ///
    /// ```
    /// use card_core::cost::CostCurve;
    ///
    /// let curve = CostCurve::from_points([(1, 10.0), (101, 110.0)]);
    /// assert_eq!(curve.rows_within(60.0, 1, 256), 48);
    /// assert_eq!(curve.rows_within(60.0, 1, 40), 40);
    /// assert_eq!(curve.rows_within(5.0, 1, 256), 1, "nothing fits");
    /// ```
    pub fn rows_within(&self, ms: f64, beside: u32, most: usize) -> usize {
        let fits = |&rows: &usize| self.ms(beside.saturating_add(rows as u32)) <= ms;
        sizes(most).find(fits).unwrap_or(1)
    }

    /// Expected milliseconds by the points next to `rows` alone.
    fn between(&self, rows: u32) -> f64 {
        let below = self.points.range(..=rows).next_back();
        let above = self.points.range(rows..).next();
        match (below, above) {
            (Some((&a, p)), Some((&b, q))) => {
                if a == b {
                    return self.value(p);
                }
                let t = f64::from(rows - a) / f64::from(b - a);
                self.value(p) + t * (self.value(q) - self.value(p))
            }
            (Some((&a, p)), None) => {
                let slope = match self.points.range(..a).next_back() {
                    Some((&z, o)) => ((self.value(p) - self.value(o)) / f64::from(a - z)).max(0.0),
                    None => self.value(p) * 0.3,
                };
                self.value(p) + slope * f64::from(rows - a)
            }
            (None, Some((_, q))) => self.value(q),
            (None, None) => f64::from(rows),
        }
    }
}

/// Numbers of rows that are tried, the largest first.
fn sizes(most: usize) -> impl Iterator<Item = usize> {
    std::iter::successors(Some(most.max(1)), |&rows| {
        let step = match rows {
            0..=8 => 1,
            9..=32 => 4,
            _ => 16,
        };
        let next = (rows - 1) / step * step;
        (next > 0).then_some(next)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_sizes_are_tried_and_the_smallest_is_one_row() {
        let tried: Vec<usize> = sizes(70).collect();
        let expected = [70, 64, 48, 32, 28, 24, 20, 16, 12, 8, 7, 6, 5, 4, 3, 2, 1];
        assert_eq!(tried, expected);
        assert_eq!(sizes(0).collect::<Vec<_>>(), [1]);
        assert_eq!(CostCurve::default().rows_within(10.0, 4, 256), 6);
    }

    #[test]
    fn interpolates_and_prolongs() {
        let c = CostCurve::from_points([(1, 10.0), (4, 40.0), (8, 40.0)]);
        assert_eq!(c.ms(1), 10.0);
        assert_eq!(c.ms(2), 20.0);
        assert_eq!(c.ms(6), 40.0);
        assert_eq!(c.ms(16), 40.0);
    }

    #[test]
    fn learns_and_ignores_a_pause() {
        let mut c = CostCurve::default();
        for _ in 0..20 {
            c.observe(2, Duration::from_millis(10));
        }
        c.observe(2, Duration::from_secs(60));
        assert!(c.ms(2) < 13.0);
    }

    #[test]
    fn a_small_forward_takes_no_longer_than_a_large_one() {
        let mut c = CostCurve::from_points([(1, 10.0), (8, 40.0)]);
        // A busy time in which only small ones were measured.
        for _ in 0..30 {
            c.observe(1, Duration::from_millis(100));
        }
        assert!(c.ms(1) > 90.0);
        // It is over, and only large ones are.
        for _ in 0..30 {
            c.observe(8, Duration::from_millis(40));
        }
        assert!(c.ms(1) < 50.0, "{}", c.ms(1));
    }

    #[test]
    fn what_larger_forwards_take_is_known_after_every_change() {
        // As if all points were looked at.
        fn scan(c: &CostCurve, rows: u32) -> f64 {
            let sound = |p: &&CostPoint| p.seen.count() >= SOUND;
            let larger = c.points.range(rows..).map(|(_, p)| p).filter(sound);
            larger.fold(c.between(rows), |least, p| least.min(c.value(p)))
        }
        fn agree(c: &CostCurve) {
            for rows in 1..140 {
                assert_eq!(c.ms(rows), scan(c, rows), "{rows}");
            }
        }
        let mut c = CostCurve::from_points([(1, 10.0), (8, 40.0), (64, 90.0)]);
        agree(&c);
        let mut draw = 1_u32;
        for _ in 0..600 {
            draw = draw.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let (rows, ms) = (1 + (draw >> 8) % 100, 1 + (draw >> 16) % 80);
            c.observe(rows, Duration::from_millis(ms.into()));
            agree(&c);
        }
        c.give([(1, 5.0), (32, 6.0), (128, 7.0)]);
        agree(&c);
    }

    #[test]
    fn a_machine_that_became_slower_is_slower_at_every_size() {
        let mut c = CostCurve::from_points([(1, 10.0), (8, 40.0)]);
        for _ in 0..60 {
            c.observe(1, Duration::from_millis(20));
        }
        assert!((c.ms(1) - 20.0).abs() < 1.0);
        assert!((c.ms(8) - 80.0).abs() < 4.0, "{}", c.ms(8));
    }

    #[test]
    fn what_is_measured_anew_takes_the_place_of_what_was_given() {
        let mut c = CostCurve::from_points([(1, 10.0), (8, 100.0)]);
        for _ in 0..100 {
            c.observe(1, Duration::from_millis(20));
        }
        c.give([(1, 10.0), (2, 11.0), (4, 12.0), (8, 14.0), (16, -1.0)]);
        assert_eq!(c.points().count(), 4);
        assert_eq!((c.ms(2), c.ms(8)), (11.0, 14.0));
        // What was seen before does not outweigh it for long.
        assert!(c.ms(1) < 17.0, "{}", c.ms(1));
        for _ in 0..20 {
            c.observe(1, Duration::from_millis(10));
        }
        assert!((c.ms(1) - 10.0).abs() < 1.0, "{}", c.ms(1));
        let before = c.ms(8);
        c.give([]);
        assert_eq!(c.ms(8), before);
    }

    #[test]
    fn what_is_said_of_forwards_is_bounded() {
        let mut c = CostCurve::from_points([(1, 10.0), (8, f64::NAN), (9, -1.0), (16, 0.0)]);
        assert_eq!(c.points().count(), 2);
        for _ in 0..30 {
            c.observe(2, Duration::from_millis(11));
        }
        for rows in 0..20_000 {
            c.observe(rows, Duration::MAX);
            c.observe(u32::MAX - rows, Duration::ZERO);
        }
        assert!(c.points().count() <= CostCurve::MOST_SEEN + 2);
        for (_, ms) in c.points() {
            assert!(ms > 0.0 && ms <= 3.6e6, "{ms}");
        }
        for rows in [0, 1, 2, 3, 64, 5000, u32::MAX] {
            assert!(c.ms(rows) > 0.0 && c.ms(rows).is_finite(), "{rows}");
        }
        // What was seen often stays.
        assert!(c.points().any(|p| p.0 == 2));
    }

    #[test]
    fn a_forward_that_is_said_to_take_no_time_is_not_believed_for_ever() {
        let mut c = CostCurve::default();
        for _ in 0..50 {
            c.observe(4, Duration::ZERO);
        }
        assert!(c.ms(4) > 0.0);
        for _ in 0..300 {
            c.observe(4, Duration::from_millis(10));
        }
        assert!((c.ms(4) - 10.0).abs() < 1.0, "{}", c.ms(4));
    }
}
