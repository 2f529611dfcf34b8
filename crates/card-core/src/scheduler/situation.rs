//! What a round can be decided on: whom it is for, and which candidates could join.
//!
//! A round looks at its candidates once. Whether to draft or wait first, and how many candidates
//! to verify, is decided on the same [`Prospect`].

use std::collections::BTreeMap;
use std::time::Duration;

use super::config::{SchedulerConfig, Shapes};
use super::members::Members;
use super::sequence::Sequence;
use super::stem_rules::StemRules;
use crate::cache::NodeId;
use crate::policy::{Base, Candidate, Coverage, Policy, Situation};
use crate::protocol::Outlook;
use crate::types::{SequenceId, Source};

/// Candidates of one sequence that a forward carries at most: beyond this the smallest cost of a
/// row exceeds what the reach of another candidate can bring.
const MOST_CANDIDATES: usize = 64;
/// Candidates of all sequences that a forward may carry for each of its sequences, where that is
/// more: on a device where rows are cheap many sequences share the rows.
const MOST_EACH: usize = 8;

/// What the policy is asked about before a launch.
///
/// Invariant: `candidates` and `places` have the same length and order: the highest reach
/// first, parents before their children.
pub(super) struct Prospect {
    /// The sequences of the next forward that may have candidates in it.
    pub(super) members: Vec<SequenceId>,
    /// What the forward decodes without any candidate.
    pub(super) base: Base,
    /// The candidates that could join it.
    pub(super) candidates: Vec<Candidate>,
    /// Where each candidate is found.
    places: Vec<(SequenceId, NodeId)>,
    /// Length of the longest chain of best candidates.
    depth: u32,
    /// Most tokens a sequence may still write.
    tokens_left: u32,
    /// See [`Situation::lookup_share`].
    lookup_share: f64,
    /// See [`Situation::missing`].
    missing: u32,
}

/// What the candidates of a forward have to fit.
#[derive(Clone, Copy)]
struct CandidateBudget {
    /// What the forward decodes anyway.
    base: Base,
    /// Candidates the forward may carry.
    most: usize,
    /// Leaves that the candidates of one sequence may have.
    leaves: usize,
    /// Tokens of context.
    context: usize,
    /// How many candidates one sequence may have.
    rules: StemRules,
    /// Which forwards are allowed.
    shapes: Shapes,
}

/// The best place that a drafter on another lane may look past soon.
pub(super) struct OpenNode {
    /// The step that would look past it.
    pub(super) outlook: Outlook,
    /// If that is the last committed token: when it was committed.
    pub(super) since: Option<Duration>,
}

impl Prospect {
    /// Looks at the candidates of the members.
    pub(super) fn of(
        members: &Members,
        running: &mut BTreeMap<SequenceId, Sequence>,
        config: &SchedulerConfig,
        policy: &Policy,
    ) -> Self {
        let context = config.limits.context as usize;
        let rules = StemRules::of(config);
        let all = members.sequences.iter();
        let known = all.filter_map(|&id| Some((id, running.get(&id)?)));
        let (ids, present): (Vec<SequenceId>, Vec<&Sequence>) = known.unzip();
        let may = |s: &Sequence| rules.most_candidates(s.text.pending()) > 0;
        let mut members = ids;
        members.retain(|id| running.get(id).is_some_and(may));
        let base = Base {
            sequences: present.len() as u32,
            rows: present.iter().map(|s| s.text.pending() as u32).sum(),
        };
        let depth = present.iter().map(|s| s.candidates.ahead()).max();
        let left = present.iter().map(|s| s.text.left(context)).max();
        let missing = present.iter().map(|s| s.lookup.share.missing()).max();
        let share: f64 = present.iter().map(|s| s.lookup.share.get()).sum();
        let count = present.len();
        let budget = CandidateBudget::of(base, running.len(), config, policy);
        let (candidates, places) = candidates(&members, running, budget, policy);
        Prospect {
            base,
            candidates,
            places,
            depth: depth.unwrap_or(0),
            tokens_left: left.unwrap_or(0).min(u32::MAX as usize) as u32,
            lookup_share: share / count.max(1) as f64,
            missing: missing.unwrap_or(0),
            members,
        }
    }

    /// The same in the policy's words.
    pub(super) fn situation(&self) -> Situation<'_> {
        Situation {
            base: self.base,
            candidates: &self.candidates,
            depth: self.depth,
            tokens_left: self.tokens_left,
            lookup_share: self.lookup_share,
            missing: self.missing,
        }
    }

    /// The first `size` candidates, by sequence: one budget for all, each row to the sequence
    /// where it adds most.
    pub(super) fn best(&self, size: usize) -> BTreeMap<SequenceId, Vec<NodeId>> {
        let mut best: BTreeMap<SequenceId, Vec<NodeId>> = BTreeMap::new();
        for &(sequence, node) in &self.places[..size] {
            best.entry(sequence).or_default().push(node);
        }
        best
    }
}

impl CandidateBudget {
    /// The bounds of a forward that decodes `base` while `running` sequences run.
    fn of(base: Base, running: usize, config: &SchedulerConfig, policy: &Policy) -> Self {
        let (limits, shapes) = (config.limits, config.shapes);
        let rows = limits.rows.min(shapes.max_rows);
        let rules = StemRules::of(config);
        let most = MOST_CANDIDATES.max(MOST_EACH.saturating_mul(base.sequences as usize));
        let leaves = if shapes.chain_only || policy.chain_only() || rules.chain_only() {
            1
        } else {
            limits.leaves_each(running).max(1)
        };
        CandidateBudget {
            base,
            most: rows.saturating_sub(base.rows as usize).min(most),
            leaves,
            context: limits.context as usize,
            rules,
            shapes,
        }
    }
}

/// The candidates of these sequences that could join a forward, of the highest reach first, and
/// where they are found.
fn candidates(
    members: &[SequenceId],
    running: &mut BTreeMap<SequenceId, Sequence>,
    budget: CandidateBudget,
    policy: &Policy,
) -> (Vec<Candidate>, Vec<(SequenceId, NodeId)>) {
    let mut all: Vec<(Candidate, (SequenceId, NodeId))> = Vec::new();
    for &id in members {
        let Some(seq) = running.get_mut(&id) else {
            continue;
        };
        let own = own_candidates(id, seq, budget, policy);
        all.extend(own.into_iter().map(|(c, node)| (c, (id, node))));
    }
    // Stable, so that parents stay before their children.
    all.sort_by(|a, b| b.0.reach.total_cmp(&a.0.reach));
    all.truncate(budget.most);
    all.into_iter().unzip()
}

/// The best candidates of one sequence, parents before their children; the token after each
/// must still be wanted.
fn own_candidates(
    sequence: SequenceId,
    seq: &mut Sequence,
    budget: CandidateBudget,
    policy: &Policy,
) -> Vec<(Candidate, NodeId)> {
    let pending = seq.text.pending();
    let room = budget.shapes.room_behind(seq.text.decoded);
    let most = budget.rules.most_candidates(pending);
    let most = most.min(budget.most).min(seq.most_candidates);
    let most = most.min(room.rows.saturating_sub(pending));
    let most = most.min(MOST_CANDIDATES);
    let wanted = seq.text.left(budget.context).saturating_sub(1);
    let wanted = wanted.min(room.tokens.saturating_sub(pending));
    let last = (seq.text.tokens.len() + wanted) as u32;
    let (chain, chances) = seq.candidates.lookup_chain(wanted);
    let values = policy.marginal_values(budget.base, &chances, most);
    let mut lookup = chain.into_iter().zip(values).peekable();
    let cache = &mut seq.candidates.cache;
    let mut nodes = Vec::new();
    cache.query(most, budget.leaves, &mut nodes);
    let mut own = Vec::with_capacity(nodes.len());
    for node in nodes {
        let Some(known) = cache.get(node).filter(|c| c.position < last) else {
            continue;
        };
        let value = lookup.next_if(|l| l.0 == node).map_or(1.0, |l| l.1);
        let candidate = Candidate {
            sequence,
            reach: known.reach,
            marginal_value: value,
        };
        own.push((candidate, node));
    }
    own
}

/// What other sources already proposed past the node that a drafter would look past, by level
/// (see [`DraftOption::covered`](crate::policy::DraftOption::covered)).
pub(super) fn coverage(seq: &Sequence, outlook: &Outlook) -> Vec<Coverage> {
    let cache = &seq.candidates.cache;
    let (mut at, followed) = cache.walk(&outlook.path);
    if followed < outlook.path.len() {
        return Vec::new();
    }
    let cond = |id| cache.get(id).map_or(0.0, |c| c.cond);
    let mut covered = Vec::new();
    let mut walked = 1.0;
    for best in cache.best_path(at) {
        let all: f32 = cache.children(at).map(cond).sum();
        covered.push(Coverage {
            best: walked * cond(best),
            any: walked * all,
        });
        walked *= cond(best);
        at = best;
    }
    covered
}

/// The best place of these sequences that a drafter on another lane has not looked past yet.
/// `None` if that is where no drafter has been at all, so that it will not be there soon.
pub(super) fn open_node(
    members: &[SequenceId],
    running: &mut BTreeMap<SequenceId, Sequence>,
    context: usize,
) -> Option<OpenNode> {
    let mut best: Option<OpenNode> = None;
    for &sequence in members {
        let Some(seq) = running.get_mut(&sequence) else {
            continue;
        };
        let Some((reach, depth)) = own_open_node(seq) else {
            continue;
        };
        if depth as usize + 1 >= seq.text.left(context) {
            continue;
        }
        if best.as_ref().is_none_or(|b| reach > b.outlook.reach) {
            let empty = seq.candidates.cache.is_empty();
            best = Some(OpenNode {
                outlook: Outlook {
                    source: Source::Draft,
                    reach,
                    rows: 1,
                    sequence,
                    path: Vec::new(),
                },
                since: empty.then_some(seq.view.committed()),
            });
        }
    }
    best
}

/// Whether a drafter has yet to say what follows the end of the chain of best candidates. One that
/// has looked past it and proposed nothing has no more to say. The last committed token is a place
/// where it begins anew, whatever was said of that token while it was a candidate.
pub(super) fn is_open_ended(seq: &Sequence) -> bool {
    let cache = &seq.candidates.cache;
    let root = cache.root();
    let end = cache.best_path(root).last().unwrap_or(root);
    let expanded = cache.get(end).is_some_and(|c| c.expanded);
    !expanded || end == root && !seq.view.has_answered()
}

/// Reach of the best place of one sequence that a drafter may look past soon, and how far past
/// the last token it is.
fn own_open_node(seq: &mut Sequence) -> Option<(f32, u32)> {
    if !seq.has_drafters() || seq.view.is_silent() {
        return None;
    }
    if seq.candidates.cache.is_empty() {
        let comes = seq.view.has_read() && is_open_ended(seq);
        return comes.then_some((1.0, 0));
    }
    let cache = &mut seq.candidates.cache;
    let last = seq.text.tokens.len() as u32 - 1;
    let mut nodes = Vec::new();
    cache.frontier(1, u32::MAX, 0.0, &mut nodes);
    let open = nodes.first().and_then(|&n| cache.get(n))?;
    let drafted = open.sources.iter().any(|s| s.drafter().is_some());
    drafted.then(|| (open.reach, open.position - last))
}
