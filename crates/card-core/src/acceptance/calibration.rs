//! One probability for each candidate, out of what its sources said.

use serde::{Deserialize, Serialize};

use super::best_children::BestChildren;
use super::counts::Counts;
use crate::cache::{CandidateCache, NodeId};
use crate::mixer::{Mixer, Opinions};
use crate::types::{DRAFTERS, Evidence, Prob, Source, SourceSet, Token};

/// How many observations a source's own word weighs: models know well how sure they are.
const PRIOR_WEIGHT: f32 = 12.0;
/// How many observations of one sequence the word of all sequences weighs, for a draft model: it
/// is the same in each of them.
const MODEL_WEIGHT: f32 = 16.0;
/// The same for a model-free source: whether a text repeats itself is a matter of the text.
const LOOKUP_WEIGHT: f32 = 8.0;
/// Probability that the best child of a drafter is right before anything is known of the
/// drafter: a model of the same family, a third of the size, has about this.
const UNKNOWN_TOP: f32 = 0.85;

/// What is known of all sources, from all sequences. It is read from a file only if observations
/// can have led to all of it.
///
/// ```
/// use card_core::acceptance::Acceptance;
/// use card_core::types::Source;
///
/// let mut acceptance = Acceptance::default();
/// // At first a source is believed.
/// assert!((acceptance.expect(Source::Draft, 0.6, 0) - 0.6).abs() < 1e-6);
/// for _ in 0..200 {
///     acceptance.observe(Source::Draft, 0.6, 0, true);
/// }
/// // It was always right where it said 0.6, so that is worth more.
/// assert!(acceptance.expect(Source::Draft, 0.6, 0) > 0.97);
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Saved")]
pub struct Acceptance {
    counts: Counts,
    mixer: Mixer,
    /// Mean calibrated probability of each drafter's best child.
    tops: [f32; DRAFTERS],
    /// Mean calibrated probability of the best child that the target's head proposes.
    head_top: f32,
    /// What became of the best children of each drafter; it is of this run only.
    #[serde(skip)]
    best: [BestChildren; DRAFTERS],
    /// The same of the target's head.
    #[serde(skip)]
    head_best: BestChildren,
    /// Take the surest source's word instead of mixing, to measure what mixing brings.
    #[serde(skip)]
    pub unmixed: bool,
}

/// The same as a file has it. Another version may have written the file, and it may be damaged.
#[derive(Deserialize)]
struct Saved {
    counts: Counts,
    mixer: Mixer,
    #[serde(default = "unknown_tops")]
    tops: [f32; DRAFTERS],
    #[serde(default = "unknown_top")]
    head_top: f32,
}

impl TryFrom<Saved> for Acceptance {
    type Error = &'static str;

    fn try_from(saved: Saved) -> Result<Self, Self::Error> {
        let acceptance = Acceptance {
            counts: saved.counts,
            mixer: saved.mixer,
            tops: saved.tops,
            head_top: saved.head_top,
            best: Default::default(),
            head_best: BestChildren::default(),
            unmixed: false,
        };
        if acceptance.fits() {
            Ok(acceptance)
        } else {
            Err("it was saved by another version, or it is damaged")
        }
    }
}

impl Default for Acceptance {
    fn default() -> Self {
        Acceptance {
            counts: Counts::default(),
            mixer: Mixer::default(),
            tops: unknown_tops(),
            head_top: unknown_top(),
            best: Default::default(),
            head_best: BestChildren::default(),
            unmixed: false,
        }
    }
}

fn unknown_tops() -> [f32; DRAFTERS] {
    [UNKNOWN_TOP; DRAFTERS]
}

fn unknown_top() -> f32 {
    UNKNOWN_TOP
}

impl Acceptance {
    /// Probability that the best child of a drafter's next node is right: what to expect of a
    /// draft that was not made yet. That is how sure the drafter was of late, but no more than what
    /// the target decided allows.
    pub fn top(&self, source: Source) -> f32 {
        if source == Source::Head {
            return self.head_top.min(self.head_best.most());
        }
        let known = |i: usize| self.tops[i].min(self.best[i].most());
        source.drafter().map_or(UNKNOWN_TOP, known)
    }

    /// Another text begins: what the target decided in others says less of how good drafters are
    /// in it.
    pub fn begin_text(&mut self) {
        for best in self.best.iter_mut().chain([&mut self.head_best]) {
            best.begin_text();
        }
    }

    /// The target did or did not write the best child of a drafter.
    fn note_best(&mut self, source: Source, written: bool) {
        if source == Source::Head {
            self.head_best.note(written);
        } else if let Some(i) = source.drafter() {
            self.best[i].note(written);
        }
    }

    /// Learns from the calibrated probability of a best child.
    pub fn observe_top(&mut self, source: Source, prob: Prob) {
        const FOLLOW: f32 = 0.04;
        let top = match source.drafter() {
            Some(i) => &mut self.tops[i],
            None if source == Source::Head => &mut self.head_top,
            None => return,
        };
        *top += FOLLOW * (prob.get() - *top);
    }

    /// Whether this version made it, and observations can have led to it. What was read from a
    /// file fits, or it would not have been read.
    pub fn fits(&self) -> bool {
        let mut tops = self.tops.iter().chain([&self.head_top]);
        let tops = tops.all(|t| Prob::new(*t).is_some());
        tops && self.counts.are_possible() && self.mixer.fits()
    }

    /// Probability that the target writes a token which `source` proposed with probability `prob`
    /// as its number `rank`, given that the target got there.
    pub fn expect(&self, source: Source, prob: f32, rank: u8) -> f32 {
        let prob = Prob::clamped(prob).get();
        let prior = prob.clamp(0.001, 0.999);
        self.counts
            .at(source, prob, rank)
            .expect(prior, PRIOR_WEIGHT)
    }

    /// The same in a sequence that has counts of its own.
    pub fn expect_in(&self, local: &Counts, source: Source, prob: f32, rank: u8) -> f32 {
        let weight = if source.is_model() {
            MODEL_WEIGHT
        } else {
            LOOKUP_WEIGHT
        };
        let prior = self.expect(source, prob, rank);
        local.at(source, prob, rank).expect(prior, weight)
    }

    /// Probability that the target writes a candidate of which its sources say `evidence`, while
    /// the sources in `against` proposed something else there.
    pub fn judge(&self, local: &Counts, evidence: &Evidence, against: SourceSet) -> f32 {
        let opinions = self.opinions(local, evidence, against);
        if self.unmixed {
            return opinions.probs.into_iter().fold(0.0, f32::max);
        }
        self.mixer.mix(&opinions)
    }

    /// What the sources think of a candidate, each calibrated by itself.
    fn opinions(&self, local: &Counts, evidence: &Evidence, against: SourceSet) -> Opinions {
        let mut opinions = Opinions {
            proposed: evidence.sources(),
            against,
            ..Opinions::default()
        };
        for (source, prob, rank) in evidence.iter() {
            opinions.probs[source.index()] = self.expect_in(local, source, prob, rank);
        }
        opinions
    }

    /// Sets the probability of every child of `parent` to what all sources together give it.
    pub fn rejudge(&self, local: &Counts, cache: &mut CandidateCache, parent: NodeId) {
        /// Something else may always come.
        const MOST: f32 = 0.99;
        let (children, spoke) = children(cache, parent);
        let judged: Vec<f32> = children
            .iter()
            .map(|(_, evidence)| self.judge(local, evidence, spoke.without(evidence.sources())))
            .collect();
        let sum: f32 = judged.iter().sum();
        let scale = if sum > MOST { MOST / sum } else { 1.0 };
        for ((id, _), cond) in children.into_iter().zip(judged) {
            cache.set_cond(id, cond * scale);
        }
    }

    /// Learns from what the target wrote: from every candidate that was proposed for one of these
    /// positions, chosen or not. Call it before [`CandidateCache::correct`].
    pub fn learn(&mut self, local: &mut Counts, cache: &CandidateCache, committed: &[Token]) {
        let mut at = cache.root();
        for &token in committed {
            let (children, spoke) = children(cache, at);
            let mut next = None;
            for (id, evidence) in children {
                let written = cache.get(id).is_some_and(|c| c.token == token);
                // A source alone is calibrated; there is nothing to mix.
                if spoke.len() > 1 {
                    let against = spoke.without(evidence.sources());
                    let opinions = self.opinions(local, &evidence, against);
                    self.mixer.learn(&opinions, written);
                }
                for (source, prob, rank) in evidence.iter() {
                    self.observe(source, prob, rank, written);
                    local.observe(source, prob, rank, written);
                    if rank == 0 {
                        self.note_best(source, written);
                    }
                }
                if written {
                    next = Some(id);
                }
            }
            match next {
                Some(id) => at = id,
                None => return,
            }
        }
    }

    /// Learns that the target did or did not write a proposed token.
    pub fn observe(&mut self, source: Source, prob: f32, rank: u8, accepted: bool) {
        self.counts.observe(source, prob, rank, accepted);
    }
}

/// The children of a node with what was said of each, and every source that said anything.
fn children(cache: &CandidateCache, parent: NodeId) -> (Vec<(NodeId, Evidence)>, SourceSet) {
    let known = |id| cache.get(id).map(|c| (id, c.evidence));
    let children: Vec<_> = cache.children(parent).filter_map(known).collect();
    let spoke = children
        .iter()
        .fold(SourceSet::default(), |all, c| all.union(c.1.sources()));
    (children, spoke)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn believes_the_source_until_it_knows_better() {
        let mut a = Acceptance::default();
        assert!((a.expect(Source::Draft, 0.6, 0) - 0.6).abs() < 1e-6);
        for _ in 0..200 {
            a.observe(Source::Draft, 0.6, 0, true);
        }
        assert!(a.expect(Source::Draft, 0.6, 0) > 0.97);
        // Neither another source nor another rank learns from that.
        assert!((a.expect(Source::PromptLookup, 0.6, 0) - 0.6).abs() < 1e-6);
        assert!((a.expect(Source::Draft, 0.6, 1) - 0.6).abs() < 1e-6);
    }

    #[test]
    fn follows_a_change() {
        let mut a = Acceptance::default();
        for _ in 0..1000 {
            a.observe(Source::Draft, 0.9, 0, true);
        }
        for _ in 0..800 {
            a.observe(Source::Draft, 0.9, 0, false);
        }
        assert!(a.expect(Source::Draft, 0.9, 0) < 0.3);
    }

    #[test]
    fn a_sequence_of_its_own_kind_is_learned_sooner() {
        let mut a = Acceptance::default();
        for _ in 0..300 {
            a.observe(Source::PromptLookup, 0.6, 0, false);
        }
        let mut local = Counts::default();
        for _ in 0..20 {
            local.observe(Source::PromptLookup, 0.6, 0, true);
        }
        let here = a.expect_in(&local, Source::PromptLookup, 0.6, 0);
        assert!(here > 0.7 && a.expect(Source::PromptLookup, 0.6, 0) < 0.05);
    }

    #[test]
    fn survives_being_saved() {
        let mut a = Acceptance::default();
        a.observe(Source::Draft, 0.9, 0, true);
        let text = serde_json::to_string(&a).unwrap();
        let again: Acceptance = serde_json::from_str(&text).unwrap();
        assert_eq!(a, again);
        assert!(again.fits());
    }

    #[test]
    fn a_head_has_a_record_of_its_own() {
        let mut a = Acceptance::default();
        let before = a.top(Source::Draft);
        for _ in 0..100 {
            a.observe_top(Source::Head, Prob::clamped(0.3));
        }
        assert!(a.top(Source::Head) < 0.35, "{}", a.top(Source::Head));
        assert_eq!(a.top(Source::Draft), before);
        a.observe_top(Source::PromptLookup, Prob::clamped(0.1));
        assert_eq!(a.top(Source::PromptLookup), UNKNOWN_TOP);
        // What was kept of an earlier version says nothing of a head.
        let text = serde_json::to_string(&a).unwrap();
        let head = format!(
            ",\"head_top\":{}",
            serde_json::to_string(&a.head_top).unwrap()
        );
        let earlier = text.replacen(&head, "", 1);
        assert_ne!(earlier, text);
        let read: Acceptance = serde_json::from_str(&earlier).unwrap();
        assert_eq!(read.top(Source::Head), UNKNOWN_TOP);
    }

    /// A cache in which a drafter is sure that token 1 comes next.
    fn sure_of_one() -> CandidateCache {
        let mut cache = CandidateCache::new(0, 1 << 14);
        let root = cache.root();
        let added = cache.insert(root, 1, 0.97, 0.97, 0, Source::Draft);
        assert!(added.is_some());
        cache
    }

    #[test]
    fn a_drafter_that_is_sure_and_wrong_is_not_believed_for_long() {
        let (mut a, mut local) = (Acceptance::default(), Counts::default());
        let cache = sure_of_one();
        for _ in 0..6 {
            let expected = a.expect_in(&local, Source::Draft, 0.97, 0);
            a.observe_top(Source::Draft, Prob::clamped(expected));
            a.learn(&mut local, &cache, &[2]);
        }
        assert!(a.top(Source::Draft) < 0.35, "{}", a.top(Source::Draft));
        assert_eq!(a.top(Source::Draft2), UNKNOWN_TOP);
        // Nor is it disbelieved for long when it is right.
        for _ in 0..12 {
            a.learn(&mut local, &cache, &[1]);
        }
        assert!(a.top(Source::Draft) > 0.7, "{}", a.top(Source::Draft));
    }

    #[test]
    fn a_drafter_that_is_as_good_as_it_is_taken_to_be_is_never_believed_less() {
        let (mut a, mut local) = (Acceptance::default(), Counts::default());
        let cache = sure_of_one();
        for i in 0..200 {
            let token = if i % 7 == 3 { 2 } else { 1 };
            a.learn(&mut local, &cache, &[token]);
            assert_eq!(a.top(Source::Draft), UNKNOWN_TOP, "after {i}");
        }
    }

    #[test]
    fn what_is_no_probability_teaches_nothing_that_is_none() {
        let mut a = Acceptance::default();
        let mut local = Counts::default();
        for odd in [f32::NAN, f32::INFINITY, -1.0, 2.0] {
            for source in Source::ALL {
                a.observe(source, odd, 0, true);
                local.observe(source, odd, u8::MAX, true);
                let expected = a.expect_in(&local, source, odd, 0);
                assert!(Prob::new(expected).is_some(), "{expected}");
                let evidence = Evidence::of(source, odd, 0);
                let judged = a.judge(&local, &evidence, SourceSet::default());
                assert!(Prob::new(judged).is_some(), "{judged}");
            }
        }
        assert!(a.fits());
    }

    #[test]
    fn a_file_of_what_cannot_have_come_about_is_refused() {
        let text = serde_json::to_string(&Acceptance::default()).unwrap();
        let read = |text: &str| serde_json::from_str::<Acceptance>(text).is_ok();
        assert!(read(&text));
        let odd = [
            // Nothing was seen, and something accepted; more than is ever counted; no number.
            ("\"accepted\":0.0", "\"accepted\":1.0"),
            ("\"seen\":0.0", "\"seen\":1e9"),
            ("\"seen\":0.0", "\"seen\":-1.0"),
            ("\"seen\":0.0", "\"seen\":1e39"),
            ("\"seen\":0.0", "\"seen\":null"),
            ("\"tops\":[0.85", "\"tops\":[1.5"),
            ("\"head_top\":0.85", "\"head_top\":-0.5"),
            ("\"bias\":0.0", "\"bias\":100.0"),
            ("\"sets\":[", "\"sets\":[],\"other\":["),
        ];
        for (from, to) in odd {
            let damaged = text.replacen(from, to, 1);
            assert_ne!(damaged, text, "{from} is in it");
            assert!(!read(&damaged), "{to}");
        }
    }
}
