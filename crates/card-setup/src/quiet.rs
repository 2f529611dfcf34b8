//! How quiet the machine was while something was measured: what other programs took of its cores,
//! what the hypervisor took, and what the container's quota held back.

use std::fmt;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

/// The files in which a system tells about itself.
pub trait MachineFiles {
    /// The text of a file; `None` if there is none.
    fn read(&self, path: &str) -> Option<String>;
}

/// The files of the system that this runs on (Linux: `/proc`, `/sys`; elsewhere there are none).
pub struct SystemFiles;

impl MachineFiles for SystemFiles {
    fn read(&self, path: &str) -> Option<String> {
        std::fs::read_to_string(path).ok()
    }
}

/// How quiet a machine was over a while. Shares of time, from 0 to 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Quiet {
    /// Time of all cores that other programs took.
    pub others: f64,
    /// Time of all cores that the hypervisor gave to other machines.
    pub stolen: f64,
    /// Time in which the quota of the container stopped this program.
    pub throttled: f64,
}

impl Quiet {
    /// Whether what was measured meanwhile may be wrong by more than it is worth.
    pub fn is_busy(&self) -> bool {
        /// Other programs beyond that take a core from a forward now and then.
        const OTHERS: f64 = 0.15;
        /// Time that is taken away without the system being able to do anything about it.
        const TAKEN: f64 = 0.05;
        self.others > OTHERS || self.stolen > TAKEN || self.throttled > TAKEN
    }

    /// The busier of two in each respect.
    pub fn worst(self, other: Quiet) -> Quiet {
        Quiet {
            others: self.others.max(other.others),
            stolen: self.stolen.max(other.stolen),
            throttled: self.throttled.max(other.throttled),
        }
    }
}

impl fmt::Display for Quiet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "other programs took {:.0} % of the cores",
            100.0 * self.others
        )?;
        if self.stolen > 0.005 {
            write!(f, ", the hypervisor {:.0} %", 100.0 * self.stolen)?;
        }
        if self.throttled > 0.005 {
            let share = 100.0 * self.throttled;
            write!(
                f,
                ", the container's quota held it back {share:.0} % of the time"
            )?;
        }
        Ok(())
    }
}

/// Watches a machine from when it is made.
#[derive(Clone, Copy, Debug)]
pub struct QuietWatch {
    first: Option<CounterReading>,
    since: Instant,
}

impl QuietWatch {
    /// Begins now.
    pub fn begin(files: &dyn MachineFiles) -> Self {
        QuietWatch {
            first: CounterReading::now(files),
            since: Instant::now(),
        }
    }

    /// How quiet it was until now; `None` where the system does not say, or too little time has
    /// gone by to say anything.
    pub fn so_far(&self, files: &dyn MachineFiles) -> Option<Quiet> {
        CounterReading::now(files)?.since(&self.first?, self.since.elapsed())
    }
}

/// What the files say at one time.
#[derive(Clone, Copy, Debug, PartialEq)]
struct CounterReading {
    /// Ticks in which all cores worked.
    busy: u64,
    /// Ticks of all cores.
    all: u64,
    /// Ticks that the hypervisor gave to others.
    stolen: u64,
    /// Ticks in which this program worked.
    own: u64,
    /// Time in which the container was stopped for its quota.
    throttled: Duration,
}

impl CounterReading {
    fn now(files: &dyn MachineFiles) -> Option<Self> {
        let mut reading = cores(&files.read("/proc/stat")?)?;
        reading.own = own(&files.read("/proc/self/stat")?)?;
        reading.throttled = throttled(files).unwrap_or_default();
        Some(reading)
    }

    /// How quiet it was between an earlier reading and this one, `wall` after it.
    fn since(&self, earlier: &CounterReading, wall: Duration) -> Option<Quiet> {
        /// Ticks below which the shares are mostly rounding.
        const LEAST: u64 = 20;
        let all = self.all.saturating_sub(earlier.all);
        if all < LEAST {
            return None;
        }
        let share = |now: u64, before: u64| now.saturating_sub(before) as f64 / all as f64;
        let others = share(self.busy, earlier.busy) - share(self.own, earlier.own);
        let held = self.throttled.saturating_sub(earlier.throttled);
        Some(Quiet {
            others: others.clamp(0.0, 1.0),
            stolen: share(self.stolen, earlier.stolen).min(1.0),
            throttled: (held.as_secs_f64() / wall.as_secs_f64().max(1e-3)).min(1.0),
        })
    }
}

/// The first line of `/proc/stat`: ticks of all cores as user, nice, system, idle, iowait, irq,
/// softirq, steal, … (proc(5)).
fn cores(stat: &str) -> Option<CounterReading> {
    let line = stat.lines().next()?.strip_prefix("cpu ")?;
    let ticks: Vec<u64> = line
        .split_whitespace()
        .map_while(|n| n.parse().ok())
        .collect();
    let at = |i: usize| ticks.get(i).copied().unwrap_or(0);
    let working = [0, 1, 2, 5, 6].map(at).into_iter();
    let busy = working.fold(0, u64::saturating_add);
    let stolen = at(7);
    let idle = at(3).saturating_add(at(4));
    (ticks.len() >= 4).then_some(CounterReading {
        busy,
        all: busy.saturating_add(idle).saturating_add(stolen),
        stolen,
        own: 0,
        throttled: Duration::ZERO,
    })
}

/// The ticks of this program by `/proc/self/stat`: the 14th and 15th fields (proc(5)). The second
/// one, the name in brackets, may have spaces.
fn own(stat: &str) -> Option<u64> {
    let behind_name = stat.rsplit_once(')')?.1;
    let mut fields = behind_name.split_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(user.saturating_add(system))
}

/// For how long the container was stopped for its quota, in all: version 2 of control groups says
/// so in microseconds, version 1 in nanoseconds.
fn throttled(files: &dyn MachineFiles) -> Option<Duration> {
    let groups = files.read("/proc/self/cgroup").unwrap_or_default();
    let path = groups.lines().find_map(|l| l.strip_prefix("0::"));
    let path = path.unwrap_or("/").trim_end_matches('/');
    let own = files.read(&format!("/sys/fs/cgroup{path}/cpu.stat"));
    let version2 = own.or_else(|| files.read("/sys/fs/cgroup/cpu.stat"));
    let field = |text: &str, name: &str| -> Option<u64> {
        let line = text.lines().find_map(|l| l.strip_prefix(name))?;
        line.trim().parse().ok()
    };
    if let Some(microseconds) = version2.and_then(|text| field(&text, "throttled_usec ")) {
        return Some(Duration::from_micros(microseconds));
    }
    let version1 = files.read("/sys/fs/cgroup/cpu/cpu.stat")?;
    field(&version1, "throttled_time ").map(Duration::from_nanos)
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    struct Made(HashMap<&'static str, String>);

    impl MachineFiles for Made {
        fn read(&self, path: &str) -> Option<String> {
            self.0.get(path).cloned()
        }
    }

    /// A machine whose cores worked and were idle for so many ticks, this program for `own`.
    fn machine(busy: u64, idle: u64, stolen: u64, own: u64) -> Made {
        let stat = format!("cpu  {busy} 0 0 {idle} 0 0 0 {stolen} 0 0\ncpu0 1 2 3\n");
        let own = format!("42 (a (b) c) S 1 2 3 4 5 6 7 8 9 10 {own} 5 0 0 20 0\n");
        Made(HashMap::from([
            ("/proc/stat", stat),
            ("/proc/self/stat", own),
        ]))
    }

    fn between(before: &Made, after: &Made) -> Option<Quiet> {
        let before = CounterReading::now(before)?;
        CounterReading::now(after)?.since(&before, Duration::from_secs(10))
    }

    #[test]
    fn what_this_program_takes_is_no_disturbance() {
        let before = machine(1000, 1000, 0, 500);
        let alone = between(&before, &machine(2000, 1000, 0, 1500)).unwrap();
        assert_eq!(alone, Quiet::default());
        assert!(!alone.is_busy());
        // Another program takes one of two cores.
        let beside = between(&before, &machine(3000, 1000, 0, 1500)).unwrap();
        assert_eq!(beside.others, 0.5);
        assert!(beside.is_busy());
        assert!(beside.to_string().contains("50 % of the cores"), "{beside}");
        let stolen = between(&before, &machine(1900, 1000, 100, 1400)).unwrap();
        assert!(stolen.is_busy() && stolen.others == 0.0, "{stolen:?}");
    }

    #[test]
    fn a_quota_that_holds_back_is_seen_in_both_versions() {
        let quiet = |file: &'static str, before: &str, after: &str| {
            let with = |text: &str| {
                let mut made = machine(1000, 1000, 0, 500);
                made.0.insert(file, text.to_owned());
                made.0.insert("/proc/self/cgroup", "0::/a/b\n".to_owned());
                made
            };
            let (before, mut after) = (with(before), with(after));
            let moved = machine(1500, 1500, 0, 1000);
            after.0.extend(moved.0);
            between(&before, &after).unwrap()
        };
        let text = |n: u64| format!("usage_usec 5\nthrottled_usec {n}\n");
        for file in ["/sys/fs/cgroup/a/b/cpu.stat", "/sys/fs/cgroup/cpu.stat"] {
            let held = quiet(file, &text(1_000_000), &text(3_000_000));
            assert!((held.throttled - 0.2).abs() < 1e-9, "{file} {held:?}");
            assert!(held.is_busy() && held.to_string().contains("quota"));
        }
        let old = |n: u64| format!("nr_throttled 3\nthrottled_time {n}\n");
        let held = quiet("/sys/fs/cgroup/cpu/cpu.stat", &old(0), &old(1_000_000_000));
        assert!((held.throttled - 0.1).abs() < 1e-9, "{held:?}");
    }

    #[test]
    fn where_nothing_is_known_nothing_is_said() {
        let nothing = Made(HashMap::new());
        assert!(QuietWatch::begin(&nothing).so_far(&nothing).is_none());
        let odd = Made(HashMap::from([
            ("/proc/stat", "cpu  x\n".to_owned()),
            ("/proc/self/stat", "no name\n".to_owned()),
        ]));
        assert!(CounterReading::now(&odd).is_none());
        let same = machine(1000, 1000, 0, 500);
        assert_eq!(between(&same, &same), None, "no time has gone by");
        // Counters that begin anew.
        let less = machine(10, 2000, 0, 5);
        assert_eq!(between(&same, &less), None);
    }

    #[test]
    fn the_worst_of_two_is_the_worst_in_each_respect() {
        let a = Quiet {
            others: 0.5,
            stolen: 0.0,
            throttled: 0.1,
        };
        let b = Quiet {
            others: 0.1,
            stolen: 0.2,
            throttled: 0.0,
        };
        let worst = Quiet {
            others: 0.5,
            stolen: 0.2,
            throttled: 0.1,
        };
        assert_eq!(a.worst(b), worst);
        assert_eq!(b.worst(a), worst);
    }
}
