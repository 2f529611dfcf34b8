//! The event loop: machines, connections, requests and faults in virtual time.
//!
//! At each instant everything that is due happens, in a fixed order; then time goes on to the
//! next instant at which anything is due. All randomness comes from one generator, so that a
//! scenario has one outcome.

use std::time::Duration;

use card_core::policy::Mode;
use card_core::protocol::{DraftInput, DraftShare, Lanes};
use card_core::scheduler::Output;
use card_core::types::SequenceId;

use crate::connection::Connection;
use crate::faults::FaultPlan;
use crate::garbage::garbage;
use crate::host::Host;
use crate::language;
use crate::machine::Machine;
use crate::outcome::Outcome;
use crate::requests::Requests;
use crate::scenario::{FaultKind, FaultSpec, Scenario};
use crate::seat::Seat;

/// A simulation that runs. Machines, hosts and connections are named by their numbers.
pub(crate) struct World<'a> {
    scenario: &'a Scenario,
    /// Noise of the draft models, by kind.
    noise: Vec<f32>,
    now: Duration,
    rng: fastrand::Rng,
    /// The machines that run targets.
    machines: Vec<Machine>,
    /// The machines that draft.
    hosts: Vec<Host>,
    connections: Vec<Connection>,
    requests: Requests,
    faults: FaultPlan,
    /// Number of sequences that were begun.
    sequences: u64,
    out: Outcome,
}

impl<'a> World<'a> {
    /// The world of a scenario that makes sense, before anything happens.
    pub(crate) fn new(scenario: &'a Scenario) -> Self {
        let mut rng = fastrand::Rng::with_seed(scenario.seed);
        let noise = noise(scenario);
        let requests = Requests::draw(&scenario.load, &mut rng);
        let machines: Vec<Machine> = (0..scenario.target.count)
            .map(|_| Machine::new(scenario, &noise))
            .collect();
        let (hosts, connections) = drafters(scenario, machines.len());
        let faults = FaultPlan::draw(scenario, &mut rng);
        World {
            scenario,
            noise,
            now: Duration::ZERO,
            rng,
            machines,
            hosts,
            connections,
            requests,
            faults,
            sequences: 0,
            out: Outcome::default(),
        }
    }

    /// Runs until every request is answered.
    pub(crate) fn run(mut self) -> Outcome {
        loop {
            self.arrivals();
            self.faults();
            self.reconnect();
            self.machines_hear();
            for i in 0..self.machines.len() {
                self.step_machine(i);
            }
            for i in 0..self.hosts.len() {
                self.step_host(i);
            }
            if self.requests.all_done() {
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
        let machines = self.machines.iter().filter_map(Machine::next);
        let hosts = self.hosts.iter().filter_map(Host::next);
        let connections = self.connections.iter().filter_map(|c| {
            let busy = self.hosts[c.host].running.is_some();
            c.next(busy, self.machines[c.machine].up)
        });
        let outside = [self.requests.next(), self.faults.next()];
        let outside = outside.into_iter().flatten();
        outside
            .chain(machines)
            .chain(hosts)
            .chain(connections)
            .min()
    }

    fn arrivals(&mut self) {
        while let Some(request) = self.requests.arrived(self.now) {
            self.dispatch(request);
        }
        if self.machines.iter().any(|m| m.up) {
            for request in self.requests.take_stranded() {
                self.dispatch(request);
            }
        }
    }

    /// Gives a request to the target with the least to do.
    fn dispatch(&mut self, request: usize) {
        let up = self.machines.iter_mut().filter(|m| m.up);
        match up.min_by_key(|m| m.load()) {
            Some(machine) => machine.queue.push_back(request),
            None => self.requests.strand(request),
        }
    }

    fn step_machine(&mut self, i: usize) {
        if !self.machines[i].up {
            return;
        }
        let busy = self.machines[i].finish(self.now);
        self.out.target_busy += busy.target;
        self.out.draft_busy += busy.draft;
        self.outputs(i);
        if self.machines[i].is_free() {
            self.admit(i);
            self.machines[i].begin(self.now);
        }
    }

    /// Starts the requests that wait at a target, as far as there is room.
    fn admit(&mut self, i: usize) {
        let load = &self.scenario.load;
        while self.machines[i].active.len() < load.parallel {
            let Some(request) = self.machines[i].queue.pop_front() else {
                return;
            };
            // The request's number can be told from the sequence's.
            let sequence = SequenceId(self.sequences * load.requests as u64 + request as u64);
            self.sequences += 1;
            let rest = self.requests.admit(request, load, self.now);
            let machine = &mut self.machines[i];
            let introduced = machine.open(sequence, rest, self.now);
            machine.active.insert(sequence, request);
            if let Some(input) = introduced {
                self.tell(i, &input);
            }
        }
    }

    /// Passes on what a target's scheduler says.
    fn outputs(&mut self, i: usize) {
        let mut decoded = false;
        for output in self.machines[i].driver.scheduler.take_outputs() {
            match output {
                Output::Tokens(sequence, from, tokens) => {
                    if let Some(&request) = self.machines[i].active.get(&sequence) {
                        self.requests.wrote(request, &tokens, self.now);
                    }
                    let commit = DraftInput::Commit {
                        sequence,
                        from,
                        tokens,
                    };
                    self.tell(i, &commit);
                }
                Output::Round(round) => {
                    decoded |= !round.prefill;
                    self.out.count(&round);
                }
                Output::Finished(sequence, _) | Output::Failed(sequence, _) => {
                    if let Some(request) = self.machines[i].active.remove(&sequence) {
                        self.requests.done(request, self.now);
                    }
                    self.tell(i, &DraftInput::Close { sequence });
                }
            }
        }
        self.out.rounds += u64::from(decoded);
    }

    /// Tells a target's drafters.
    fn tell(&mut self, i: usize, input: &DraftInput) {
        self.machines[i].tell_mate(input);
        let open = |c: &&mut Connection| c.machine == i && c.open;
        for c in self.connections.iter_mut().filter(open) {
            c.tell(input.clone(), self.now, &mut self.rng);
        }
    }

    fn machines_hear(&mut self) {
        for c in self.connections.iter_mut().filter(|c| c.open) {
            let scheduler = &mut self.machines[c.machine].driver.scheduler;
            while let Some((drafted, recovery)) = c.heard(self.now) {
                self.out.recoveries.extend(recovery);
                scheduler.drafted(&drafted, self.now);
            }
        }
    }

    fn step_host(&mut self, h: usize) {
        if !self.hosts[h].up {
            return;
        }
        self.finish_draft(h);
        let host = &mut self.hosts[h];
        if host.running.is_some() {
            return;
        }
        let open = |c: &&mut Connection| c.host == h && c.open;
        for c in self.connections.iter_mut().filter(open) {
            while let Some(input) = c.told(self.now) {
                if let Some(seat) = host.seats.get_mut(&c.machine) {
                    seat.drafter.handle(input);
                }
            }
        }
        host.begin(self.now);
    }

    /// Ends a drafter's forward if it is over, and sends what it drafted.
    fn finish_draft(&mut self, h: usize) {
        let now = self.now;
        let host = &mut self.hosts[h];
        let Some((target, done)) = host.running.take_if(|r| r.1.end <= now) else {
            return;
        };
        self.out.draft_busy += done.time();
        let Some(seat) = host.seats.get_mut(&target) else {
            return;
        };
        let drafted = seat.finish(&done, now);
        let open = |c: &&mut Connection| c.host == h && c.machine == target && c.open;
        let Some(c) = self.connections.iter_mut().find(open) else {
            return;
        };
        if now < host.garbage_until {
            let active = &self.machines[target].active;
            let running: Vec<SequenceId> = active.keys().copied().collect();
            let nonsense = garbage(&mut self.rng, &running);
            c.answer(nonsense, now, &mut self.rng);
        }
        c.answer(drafted, now, &mut self.rng);
    }

    /// Notices partitions, and opens the connections that are not open.
    fn reconnect(&mut self) {
        for i in 0..self.connections.len() {
            self.connections[i].release(self.now);
            if self.connections[i].is_noticed(self.now) {
                self.lose(i);
            }
            let c = &mut self.connections[i];
            if !(self.machines[c.machine].up && c.is_due(self.now)) {
                continue;
            }
            if self.hosts[c.host].up && !c.is_held() {
                self.connect(i);
            } else {
                c.retry(self.now);
            }
        }
    }

    /// Opens a connection: the drafter begins anew, and is told of what runs.
    fn connect(&mut self, i: usize) {
        let c = &mut self.connections[i];
        let kind = self.hosts[c.host].kind;
        let spec = &self.scenario.drafters[kind];
        let seat = Seat::new(self.scenario, spec, self.noise[kind]);
        self.hosts[c.host].seats.insert(c.machine, seat);
        c.opened();
        for input in self.machines[c.machine].driver.scheduler.introductions() {
            c.tell(input, self.now, &mut self.rng);
        }
        let machine = c.machine;
        self.share_out(machine);
    }

    /// A connection is gone, and with it what the drafter knew.
    fn lose(&mut self, i: usize) {
        let c = &mut self.connections[i];
        c.lost(self.now);
        let machine = c.machine;
        let host = &mut self.hosts[c.host];
        host.seats.remove(&machine);
        host.running.take_if(|r| r.0 == machine);
        self.share_out(machine);
    }

    fn lose_all(&mut self, which: impl Fn(&Connection) -> bool) {
        for i in 0..self.connections.len() {
            if self.connections[i].open && which(&self.connections[i]) {
                self.lose(i);
            }
        }
    }

    /// Tells a target whether it has drafters, and each drafter its share of the tree.
    fn share_out(&mut self, i: usize) {
        let open = |c: &&mut Connection| c.machine == i && c.open;
        let of = self.connections.iter_mut().filter(open).count() as u32;
        for (index, c) in self.connections.iter_mut().filter(open).enumerate() {
            let share = DraftShare {
                index: index as u32,
                of,
            };
            c.tell(DraftInput::Share(share), self.now, &mut self.rng);
        }
        let machine = &mut self.machines[i];
        if of > 0 || machine.has_mate() {
            machine.driver.scheduler.drafter_back();
        } else {
            machine.driver.scheduler.drafter_lost();
        }
    }

    fn faults(&mut self) {
        while let Some(mut fault) = self.faults.begun(self.now) {
            let machines = match fault.kind {
                FaultKind::TargetCrash => self.machines.len(),
                _ => self.hosts.len(),
            };
            if machines > 0 {
                fault.which %= machines;
                self.begin_fault(fault);
            }
        }
        while let Some(fault) = self.faults.ended(self.now) {
            self.end_fault(fault);
        }
    }

    fn begin_fault(&mut self, fault: FaultSpec) {
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
                    c.hold(until, self.now);
                }
            }
            FaultKind::SlowDrafter => self.hosts[which].slow_until = until,
            FaultKind::Garbage => self.hosts[which].garbage_until = until,
            FaultKind::TargetCrash => {
                if !self.machines[which].up {
                    return;
                }
                self.crash_target(which);
            }
        }
        self.faults.lasts(until, fault);
    }

    /// A target's process ends. What its scheduler knew is gone; what was written is not, and
    /// goes on at other targets.
    fn crash_target(&mut self, which: usize) {
        self.lose_all(|c| c.machine == which);
        let machine = &mut self.machines[which];
        machine.up = false;
        let requests: Vec<usize> = std::mem::take(&mut machine.active)
            .into_values()
            .chain(std::mem::take(&mut machine.queue))
            .collect();
        *machine = Machine::new(self.scenario, &self.noise);
        machine.up = false;
        for request in requests {
            self.dispatch(request);
        }
    }

    fn end_fault(&mut self, fault: FaultSpec) {
        match fault.kind {
            FaultKind::DrafterCrash if !self.faults.is_on(&fault) => {
                self.hosts[fault.which].up = true;
                for c in self.connections.iter_mut() {
                    if c.host == fault.which {
                        c.back(self.now);
                    }
                }
            }
            FaultKind::TargetCrash => self.machines[fault.which].up = true,
            _ => {}
        }
    }

    fn outcome(mut self) -> Outcome {
        let scenario = self.scenario;
        self.out.served = self.requests.served(scenario);
        self.out.time = self.now;
        self.out.targets = self.machines.len();
        self.out.drafters = match scenario.policy.lanes {
            Lanes::Disjoint => self.hosts.len(),
            Lanes::Shared => self.machines.iter().filter(|m| m.has_mate()).count(),
        };
        let hours = self.now.as_secs_f64() / 3600.0;
        let of_host = |h: &Host| scenario.drafters[h.kind].price_per_hour;
        let of_hosts: f64 = self.hosts.iter().map(of_host).sum();
        let of_targets = scenario.target.price_per_hour * self.machines.len() as f64;
        self.out.cost = hours * (of_targets + of_hosts);
        self.out
    }
}

/// Noise of each kind of draft model, fitted to how often it shall agree with the target. A
/// recording says itself what is proposed.
fn noise(scenario: &Scenario) -> Vec<f32> {
    let fitted = scenario.drafters.iter().map(|d| match scenario.recording {
        Some(_) => 0.0,
        None => language::noise_for(scenario.seed, d.agreement),
    });
    fitted.collect()
}

/// The machines that draft on lanes of their own, and which of them works for which target.
fn drafters(scenario: &Scenario, targets: usize) -> (Vec<Host>, Vec<Connection>) {
    let (mut hosts, mut connections) = (Vec::new(), Vec::new());
    let policy = &scenario.policy;
    if policy.lanes == Lanes::Shared || policy.mode == Mode::Plain {
        return (hosts, connections);
    }
    for (kind, spec) in scenario.drafters.iter().enumerate() {
        let first = hosts.len();
        hosts.extend((0..spec.count).map(|_| Host::new(kind, spec.cost())));
        let pairs = 0..spec.count.max(targets);
        connections.extend(
            pairs.map(|pair| Connection::new(pair % targets, first + pair % spec.count, spec.link)),
        );
    }
    (hosts, connections)
}
