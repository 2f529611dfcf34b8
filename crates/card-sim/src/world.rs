//! The event loop: machines, connections, requests and faults in virtual time.

use std::time::Duration;

use card_core::backoff::Backoff;
use card_core::drafter::{DraftInput, Drafted, Expansion, Share};
use card_core::engine::Output;
use card_core::policy::{Lanes, Mode};
use card_core::sampler::Sampling;
use card_core::types::{Prob, Rows, SequenceId, Source, Token};

use crate::language::{self, VOCAB};
use crate::link::Wire;
use crate::node::{Host, Node, Seat};
use crate::outcome::{Outcome, Served};
use crate::scenario::{Fault, FaultKind, Scenario};

/// A partition is noticed when keep-alives go without an answer for so long (as in
/// `card-link`).
const KEEPALIVE: Duration = Duration::from_secs(5);

struct Asked {
    prompt: Vec<Token>,
    params: Sampling,
    arrived: Duration,
    first: Option<Duration>,
    done: Option<Duration>,
    written: Vec<Token>,
}

/// What is between a target and a drafter.
struct Connection {
    node: usize,
    host: usize,
    open: bool,
    to: Wire<DraftInput>,
    from: Wire<Drafted>,
    retry_at: Duration,
    pause: Backoff,
    /// Nothing gets through until then.
    held: Option<Duration>,
    /// When that is noticed.
    notice_at: Option<Duration>,
    /// Since when its drafts are waited for again.
    back_since: Option<Duration>,
}

pub(crate) struct World<'a> {
    scenario: &'a Scenario,
    noise: Vec<f32>,
    now: Duration,
    rng: fastrand::Rng,
    nodes: Vec<Node>,
    hosts: Vec<Host>,
    connections: Vec<Connection>,
    asked: Vec<Asked>,
    /// Arrivals to come: (when, request), the next one last.
    coming: Vec<(Duration, usize)>,
    /// Requests no target is there for.
    stranded: Vec<usize>,
    /// Faults to come, the next one last.
    faults: Vec<Fault>,
    /// (when, what is over).
    ends: Vec<(Duration, Fault)>,
    /// Sequences there were.
    sequences: u64,
    out: Outcome,
}

impl<'a> World<'a> {
    pub(crate) fn new(scenario: &'a Scenario) -> Self {
        let mut rng = fastrand::Rng::with_seed(scenario.seed);
        let noise: Vec<f32> = scenario
            .drafters
            .iter()
            .map(|d| match scenario.recording {
                Some(_) => 0.0,
                None => language::noise_for(scenario.seed, d.agreement),
            })
            .collect();
        let load = &scenario.load;
        let mut at = Duration::ZERO;
        let mut asked = Vec::with_capacity(load.requests);
        let mut coming = Vec::new();
        for i in 0..load.requests {
            if load.per_second > 0.0 {
                // A Poisson process.
                at += Duration::from_secs_f64(-(1.0 - rng.f64()).ln() / load.per_second);
            }
            asked.push(Asked {
                prompt: (0..load.prompt_tokens)
                    .map(|_| rng.u32(..VOCAB as u32))
                    .collect(),
                // Checked when the scenario was.
                params: load.sampling(rng.u64(..)).unwrap_or_default(),
                arrived: at,
                first: None,
                done: None,
                written: Vec::new(),
            });
            coming.push((at, i));
        }
        coming.reverse();
        let nodes = (0..scenario.target.count)
            .map(|_| Node::new(scenario, &noise))
            .collect();
        let mut world = World {
            scenario,
            noise,
            now: Duration::ZERO,
            nodes,
            hosts: Vec::new(),
            connections: Vec::new(),
            asked,
            coming,
            stranded: Vec::new(),
            faults: scenario.faults.clone(),
            ends: Vec::new(),
            sequences: 0,
            rng,
            out: Outcome::default(),
        };
        world.connect_all();
        world.plan_faults();
        world
    }

    /// Which drafters work for which target.
    fn connect_all(&mut self) {
        let policy = &self.scenario.policy;
        if policy.lanes == Lanes::Shared || policy.mode == Mode::Plain {
            return;
        }
        for (kind, d) in self.scenario.drafters.iter().enumerate() {
            let cost = card_core::cost::CostCurve::from_points(d.forward_ms.iter().copied());
            let first = self.hosts.len();
            for _ in 0..d.count {
                self.hosts.push(Host::new(kind, cost.clone()));
            }
            let nodes = self.nodes.len();
            for pair in 0..d.count.max(nodes) {
                self.connections.push(Connection {
                    node: pair % nodes,
                    host: first + pair % d.count,
                    open: false,
                    to: Wire::new(d.link),
                    from: Wire::new(d.link),
                    retry_at: Duration::ZERO,
                    pause: Backoff::DRAFTER,
                    held: None,
                    notice_at: None,
                    back_since: None,
                });
            }
        }
    }

    fn plan_faults(&mut self) {
        if let Some(chaos) = self.scenario.chaos {
            let mut at = 0.0;
            let mut exponential = |mean: f64| -mean * (1.0 - self.rng.f64()).ln();
            // As many as can matter; those after the last answer do not happen.
            for _ in 0..1000 {
                at += exponential(chaos.every_s);
                let for_s = exponential(chaos.lasts_s).max(0.01);
                self.faults.push(Fault {
                    at_s: at,
                    kind: FaultKind::DrafterCrash,
                    which: 0,
                    for_s,
                });
            }
            for fault in &mut self.faults[self.scenario.faults.len()..] {
                let kinds = match chaos.targets {
                    true => FaultKind::ALL.len(),
                    false => FaultKind::ALL.len() - 1,
                };
                fault.kind = FaultKind::ALL[self.rng.usize(..kinds)];
                fault.which = self.rng.usize(..1 << 20);
            }
        }
        self.faults.sort_by(|a, b| b.at_s.total_cmp(&a.at_s));
    }

    pub(crate) fn run(mut self) -> Outcome {
        loop {
            self.arrivals();
            self.faults();
            self.reconnect();
            self.nodes_hear();
            for i in 0..self.nodes.len() {
                self.step_node(i);
            }
            for i in 0..self.hosts.len() {
                self.step_host(i);
            }
            if self.asked.iter().all(|a| a.done.is_some()) {
                return self.outcome();
            }
            let Some(next) = self.next() else {
                // Nothing can happen any more: a bug.
                panic!("the simulation stands still at {:?}", self.now);
            };
            self.now = self.now.max(next);
        }
    }

    /// When something happens next.
    fn next(&self) -> Option<Duration> {
        let mut next: Option<Duration> = None;
        let mut at = |time: Option<Duration>| {
            if let Some(time) = time {
                next = Some(next.map_or(time, |n| n.min(time)));
            }
        };
        at(self.coming.last().map(|c| c.0));
        at(self.faults.last().map(|f| Duration::from_secs_f64(f.at_s)));
        at(self.ends.iter().map(|e| e.0).min());
        for node in &self.nodes {
            at(node.running.as_ref().map(|r| r.end));
            at(node.drafting.as_ref().map(|r| r.end));
            at(node.wake);
        }
        for host in &self.hosts {
            at(host.running.as_ref().map(|r| r.1.end));
        }
        for c in &self.connections {
            if c.open {
                at(c.from.next());
                at(c.notice_at);
                // A drafter hears between its forwards.
                let busy = self.hosts[c.host].running.is_some();
                at(c.to.next().filter(|_| !busy));
            } else if self.nodes[c.node].up {
                at(Some(c.retry_at));
            }
        }
        next
    }

    fn arrivals(&mut self) {
        while self.coming.last().is_some_and(|c| c.0 <= self.now) {
            if let Some((_, request)) = self.coming.pop() {
                self.dispatch(request);
            }
        }
        if self.nodes.iter().any(|n| n.up) {
            for job in std::mem::take(&mut self.stranded) {
                self.dispatch(job);
            }
        }
    }

    /// To the target with the least to do.
    fn dispatch(&mut self, job: usize) {
        let up = self.nodes.iter_mut().filter(|n| n.up);
        match up.min_by_key(|n| n.load()) {
            Some(node) => node.queue.push_back(job),
            None => self.stranded.push(job),
        }
    }

    fn step_node(&mut self, i: usize) {
        if !self.nodes[i].up {
            return;
        }
        let now = self.now;
        let node = &mut self.nodes[i];
        if let Some(done) = node.running.take_if(|r| r.end <= now) {
            node.finish(&done, now);
            self.out.target_busy += done.end - done.start;
        }
        if let Some(done) = node.drafting.take_if(|r| r.end <= now) {
            self.out.draft_busy += done.end - done.start;
            if let Some(seat) = &mut node.beside {
                let drafted = seat.finish(&done, now);
                node.engine.drafted(&drafted, now);
            }
        }
        self.outputs(i);
        let free = self.nodes[i].running.is_none() && self.nodes[i].drafting.is_none();
        if free {
            self.admit(i);
            self.nodes[i].begin(now);
        }
    }

    /// Starts what waits, as far as there is room.
    fn admit(&mut self, i: usize) {
        while self.nodes[i].active.len() < self.scenario.load.parallel {
            let Some(job) = self.nodes[i].queue.pop_front() else {
                return;
            };
            // The request's number can be told from it.
            let requests = self.scenario.load.requests as u64;
            let sequence = SequenceId(self.sequences * requests + job as u64);
            self.sequences += 1;
            let asked = &mut self.asked[job];
            if self.scenario.load.per_second <= 0.0 && asked.first.is_none() {
                // One whenever another is done: it arrives when there is room.
                asked.arrived = self.now;
            }
            let prompt: Vec<Token> = asked.prompt.iter().chain(&asked.written).copied().collect();
            let left = self.scenario.load.output_tokens - asked.written.len() as u32;
            let params = asked.params.clone();
            let node = &mut self.nodes[i];
            let introduced = node.open(sequence, prompt, left, params, self.now);
            node.active.insert(sequence, job);
            if let Some(input) = introduced {
                self.tell(i, &input);
            }
        }
    }

    /// Passes on what an engine says.
    fn outputs(&mut self, i: usize) {
        let mut decoded = false;
        for output in self.nodes[i].engine.take_outputs() {
            match output {
                Output::Tokens(sequence, from, tokens) => {
                    if let Some(job) = self.nodes[i].active.get(&sequence) {
                        let asked = &mut self.asked[*job];
                        asked.first.get_or_insert(self.now);
                        asked.written.extend(&tokens);
                    }
                    self.tell(
                        i,
                        &DraftInput::Commit {
                            sequence,
                            from,
                            tokens,
                        },
                    );
                }
                Output::Round(round) => {
                    let out = &mut self.out;
                    if !round.prefill {
                        decoded = true;
                        out.parts += 1;
                        out.committed += round.tokens.len() as u64;
                    }
                    out.corrections += u64::from(round.hit.is_some());
                    out.hits += u64::from(round.hit == Some(true));
                    out.cache_bytes = out.cache_bytes.max(round.cached_bytes);
                }
                Output::Finished(sequence, _) | Output::Failed(sequence, _) => {
                    if let Some(job) = self.nodes[i].active.remove(&sequence) {
                        self.asked[job].done = Some(self.now);
                    }
                    self.tell(i, &DraftInput::Close { sequence });
                }
            }
        }
        self.out.rounds += u64::from(decoded);
    }

    /// Tells a target's drafters.
    fn tell(&mut self, node: usize, input: &DraftInput) {
        if let Some(seat) = &mut self.nodes[node].beside {
            seat.drafter.handle(input.clone());
        }
        let mine = |c: &&mut Connection| c.node == node && c.open;
        for c in self.connections.iter_mut().filter(mine) {
            c.to.send(input.clone(), self.now, c.held, &mut self.rng);
        }
    }

    fn nodes_hear(&mut self) {
        for c in self.connections.iter_mut().filter(|c| c.open) {
            let engine = &mut self.nodes[c.node].engine;
            while let Some(drafted) = c.from.take(self.now) {
                if let Some(since) = c.back_since.take() {
                    self.out.recoveries.push(self.now.saturating_sub(since));
                }
                c.pause.reset();
                engine.drafted(&drafted, self.now);
            }
        }
    }

    fn step_host(&mut self, h: usize) {
        let host = &mut self.hosts[h];
        if !host.up {
            return;
        }
        let now = self.now;
        if let Some((node, done)) = host.running.take_if(|r| r.1.end <= now) {
            self.out.draft_busy += done.end - done.start;
            if let Some(seat) = host.seats.get_mut(&node) {
                let drafted = seat.finish(&done, now);
                let open = |c: &&mut Connection| c.host == h && c.node == node && c.open;
                if let Some(c) = self.connections.iter_mut().find(open) {
                    if now < host.garbage_until {
                        let noise = garbage(&mut self.rng, &self.nodes[node]);
                        c.from.send(noise, now, c.held, &mut self.rng);
                    }
                    c.from.send(drafted, now, c.held, &mut self.rng);
                }
            }
        }
        if host.running.is_some() {
            return;
        }
        for c in self
            .connections
            .iter_mut()
            .filter(|c| c.host == h && c.open)
        {
            while let Some(input) = c.to.take(now) {
                if let Some(seat) = host.seats.get_mut(&c.node) {
                    seat.drafter.handle(input);
                }
            }
        }
        host.begin(now);
    }

    fn reconnect(&mut self) {
        for i in 0..self.connections.len() {
            let c = &mut self.connections[i];
            if c.held.is_some_and(|until| until <= self.now) {
                c.held = None;
                c.notice_at = None;
                if c.open {
                    c.back_since.get_or_insert(self.now);
                }
            }
            if c.open && c.notice_at.is_some_and(|at| at <= self.now) {
                self.lose(i);
            }
            let c = &mut self.connections[i];
            let may = self.nodes[c.node].up && !c.open && c.retry_at <= self.now;
            if !may {
                continue;
            }
            if self.hosts[c.host].up && c.held.is_none() {
                self.connect(i);
            } else {
                c.retry_at = self.now + c.pause.fail();
            }
        }
    }

    fn connect(&mut self, i: usize) {
        let (node, host) = (self.connections[i].node, self.connections[i].host);
        let kind = self.hosts[host].kind;
        let spec = &self.scenario.drafters[kind];
        let seat = Seat::new(self.scenario, spec, self.noise[kind]);
        self.hosts[host].seats.insert(node, seat);
        let c = &mut self.connections[i];
        c.open = true;
        c.notice_at = None;
        let inputs: Vec<DraftInput> = self.nodes[node].engine.introductions().collect();
        for input in inputs {
            c.to.send(input, self.now, None, &mut self.rng);
        }
        self.share_out(node);
    }

    /// A connection is gone.
    fn lose(&mut self, i: usize) {
        let c = &mut self.connections[i];
        c.open = false;
        c.to.cut();
        c.from.cut();
        c.notice_at = None;
        c.retry_at = self.now + c.pause.fail();
        let (node, host) = (c.node, c.host);
        let host = &mut self.hosts[host];
        host.seats.remove(&node);
        host.running.take_if(|r| r.0 == node);
        self.share_out(node);
    }

    /// Tells a target how many drafters it has, and each of these its part.
    fn share_out(&mut self, node: usize) {
        let mine = |c: &&mut Connection| c.node == node && c.open;
        let of = self.connections.iter_mut().filter(mine).count() as u32;
        for (index, c) in self.connections.iter_mut().filter(mine).enumerate() {
            let share = Share {
                index: index as u32,
                of,
            };
            let input = DraftInput::Share(share);
            c.to.send(input, self.now, c.held, &mut self.rng);
        }
        let node = &mut self.nodes[node];
        match of > 0 || node.beside.is_some() {
            true => node.engine.drafter_back(),
            false => node.engine.drafter_lost(),
        }
    }

    fn faults(&mut self) {
        let now = self.now;
        let due = |f: &Fault| Duration::from_secs_f64(f.at_s) <= now;
        while self.faults.last().is_some_and(due) {
            let Some(mut fault) = self.faults.pop() else {
                break;
            };
            let machines = match fault.kind {
                FaultKind::TargetCrash => self.nodes.len(),
                _ => self.hosts.len(),
            };
            if machines > 0 {
                fault.which %= machines;
                self.begin_fault(fault);
            }
        }
        for i in (0..self.ends.len()).rev() {
            if self.ends[i].0 <= self.now {
                let (_, fault) = self.ends.swap_remove(i);
                self.end_fault(fault);
            }
        }
    }

    fn begin_fault(&mut self, fault: Fault) {
        let until = self.now + Duration::from_secs_f64(fault.for_s);
        let which = fault.which;
        self.out.faults += 1;
        match fault.kind {
            FaultKind::DrafterCrash => {
                self.hosts[which].up = false;
                self.hosts[which].running = None;
                self.lose_all(|c| c.host == which);
            }
            FaultKind::Partition => {
                for c in self.connections.iter_mut().filter(|c| c.host == which) {
                    c.held = Some(c.held.unwrap_or_default().max(until));
                    c.to.hold(until);
                    c.from.hold(until);
                    if c.open && c.notice_at.is_none() {
                        c.notice_at = Some(self.now + KEEPALIVE);
                    }
                }
            }
            FaultKind::SlowDrafter => self.hosts[which].slow_until = until,
            FaultKind::Garbage => self.hosts[which].garbage_until = until,
            FaultKind::TargetCrash => {
                if !self.nodes[which].up {
                    return;
                }
                self.lose_all(|c| c.node == which);
                let node = &mut self.nodes[which];
                node.up = false;
                let jobs: Vec<usize> = std::mem::take(&mut node.active)
                    .into_values()
                    .chain(std::mem::take(&mut node.queue))
                    .collect();
                // The engine's memory is gone; what was written is not.
                *node = Node::new(self.scenario, &self.noise);
                node.up = false;
                for job in jobs {
                    self.dispatch(job);
                }
            }
        }
        self.ends.push((until, fault));
    }

    fn end_fault(&mut self, fault: Fault) {
        match fault.kind {
            FaultKind::DrafterCrash => {
                let again = self
                    .ends
                    .iter()
                    .any(|e| e.1.kind == fault.kind && e.1.which == fault.which);
                if !again {
                    self.hosts[fault.which].up = true;
                    let back = self.now;
                    let mine = |c: &&mut Connection| c.host == fault.which;
                    for c in self.connections.iter_mut().filter(mine) {
                        c.back_since = Some(back);
                    }
                }
            }
            FaultKind::TargetCrash => self.nodes[fault.which].up = true,
            FaultKind::Partition | FaultKind::SlowDrafter | FaultKind::Garbage => {}
        }
    }

    fn lose_all(&mut self, which: impl Fn(&Connection) -> bool) {
        for i in 0..self.connections.len() {
            if self.connections[i].open && which(&self.connections[i]) {
                self.lose(i);
            }
        }
    }

    fn outcome(mut self) -> Outcome {
        let scenario = self.scenario;
        self.out.served = self
            .asked
            .iter()
            .map(|a| {
                let tokens = scenario.load.output_tokens;
                let plain = language::plain(scenario.seed, &a.prompt, tokens, &a.params);
                Served {
                    arrived: a.arrived,
                    first: a.first.unwrap_or_default(),
                    done: a.done.unwrap_or_default(),
                    tokens: a.written.len(),
                    exact: a.written == plain,
                }
            })
            .collect();
        self.out.time = self.now;
        self.out.targets = self.nodes.len();
        self.out.drafters = match scenario.policy.lanes {
            Lanes::Disjoint => self.hosts.len(),
            Lanes::Shared => self.nodes.iter().filter(|n| n.beside.is_some()).count(),
        };
        let hours = self.now.as_secs_f64() / 3600.0;
        let of_hosts: f64 = self
            .hosts
            .iter()
            .map(|h| scenario.drafters[h.kind].price_per_hour)
            .sum();
        let of_targets = scenario.target.price_per_hour * self.nodes.len() as f64;
        self.out.cost = hours * (of_targets + of_hosts);
        self.out
    }
}

/// Drafts that make no sense: foreign tokens, wrong places, impossible probabilities.
fn garbage(rng: &mut fastrand::Rng, node: &Node) -> Drafted {
    let running: Vec<SequenceId> = node.active.keys().copied().collect();
    let expansions = (0..rng.usize(..6))
        .map(|_| Expansion {
            // One that runs, or one there never was.
            sequence: match rng.usize(..=running.len()) {
                i if i < running.len() => running[i],
                _ => SequenceId(rng.u64(..)),
            },
            root: rng.u32(..400),
            path: (0..rng.usize(..5))
                .map(|_| rng.u32(..2 * VOCAB as u32))
                .collect(),
            children: (0..rng.usize(..5))
                .map(|_| {
                    let token = rng.u32(..2 * VOCAB as u32);
                    (token, Prob::clamped(rng.f32() * 2.0 - 0.5))
                })
                .collect(),
        })
        .collect();
    Drafted {
        source: Source::Draft,
        expansions,
        rows: Rows::clamped(rng.usize(..3)),
        started: Duration::ZERO,
        elapsed: Duration::from_millis(rng.u64(..50)),
    }
}
