//! How much memory there is, and how long a context it has room for.

use std::path::Path;

use anyhow::{Result, bail};
use card_core::scheduler::SavedStateCounts;
use card_core::words::counted;
use card_llama::{CacheTypes, KvShape, LlamaError};

use crate::contexts;
pub use crate::contexts::SPARE_CELLS;
use crate::devices;
use crate::settings::Settings;

/// Tokens of context where the settings do not say.
pub const DEFAULT_CONTEXT: u32 = 4096;
/// Most tokens of context that a model's file is believed to have been trained for.
const LONGEST_CONTEXT: u32 = 1 << 20;
/// Contexts are whole multiples of this many tokens where they are made to fit.
const STEP: u64 = 256;
/// Part of the free memory that a context which nobody asked for leaves to other programs, to
/// buffers of forwards and to what is measured.
const LEFT_FREE: u64 = 8;

/// A model whose KV cache and states take memory.
#[derive(Clone, Copy, Debug)]
pub struct Occupant {
    /// "target" or "draft": how many recurrent states a context has depends on it.
    pub role: &'static str,
    /// What it keeps of a token and of a sequence.
    pub shape: KvShape,
    /// With which types.
    pub cache: CacheTypes,
    /// Layers on GPUs; `None` for all.
    pub gpu_layers: Option<u32>,
    /// Whether nothing of it is on a GPU.
    pub on_cpu: bool,
    /// Bytes of weights that are not in memory yet.
    pub missing: u64,
    /// Bytes that its saved states take at most, in the memory of the machine wherever the layers
    /// are.
    pub saved: u64,
}

impl Occupant {
    /// A target where `settings` put it, with so many bytes of weights that are not in memory yet.
    pub fn target(settings: &Settings, shape: KvShape, missing: u64) -> Self {
        Occupant {
            role: "target",
            shape,
            cache: settings.target_cache(),
            gpu_layers: settings.gpu_layers,
            on_cpu: devices::target_on_cpu(settings),
            missing,
            saved: saved_bytes(&shape, settings.cache_ram),
        }
    }

    /// The draft model or the head in `file` where `settings` put it, for the target in another
    /// file. Its weights are not in memory yet, unless it is the target itself. It saves no states.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn draft(settings: &Settings, file: &Path, target: &Path) -> Result<Self, LlamaError> {
        let shape = KvShape::of_file(file)?;
        Ok(Occupant {
            role: "draft",
            shape,
            cache: settings.draft_cache(),
            gpu_layers: settings.draft_gpu_layers,
            on_cpu: devices::draft_on_cpu(settings),
            missing: if file == target { 0 } else { shape.bytes },
            saved: 0,
        })
    }

    /// How many of `bytes` that are spread over its layers are on GPUs.
    fn on_gpus(&self, bytes: u64) -> u64 {
        if self.on_cpu {
            return 0;
        }
        let layers = u64::from(self.shape.layers.max(1));
        let there = self.gpu_layers.map_or(layers, u64::from).min(layers);
        (u128::from(bytes) * u128::from(there) / u128::from(layers)) as u64
    }
}

/// Bytes that the saved states of a target take at most, where all of them may take so many MiB.
fn saved_bytes(shape: &KvShape, most_mib: usize) -> u64 {
    let most = (most_mib as u64).saturating_mul(1 << 20);
    if shape.state > most {
        // None is saved then.
        return 0;
    }
    let all = (SavedStateCounts::MOST_KEPT as u64).saturating_mul(shape.state);
    all.min(most)
}

/// Bytes of one kind of memory: what is free, and what is not known is `None`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    /// Of the machine.
    pub here: Option<u64>,
    /// Of all GPUs that may be used.
    pub gpus: Option<u64>,
}

impl Room {
    /// Nothing is known.
    pub fn unknown() -> Self {
        Room {
            here: None,
            gpus: None,
        }
    }

    /// What is free now for the models of `settings`. Where layers of the target are on other
    /// machines, nothing is known of their memory.
    pub fn of(settings: &Settings) -> Self {
        if settings.rpc.is_empty() {
            Room::now(&devices::named(settings))
        } else {
            Room::unknown()
        }
    }

    /// What is free now, where a model may use the GPUs of these names, or all if there are none.
    pub fn now(names: &[String]) -> Self {
        let all = card_llama::devices();
        let named =
            |gpu: &str| names.is_empty() || names.iter().any(|n| n.eq_ignore_ascii_case(gpu));
        let gpus = all.iter().filter(|d| d.is_gpu && named(&d.name));
        // A device that does not say how much it has gives zeros.
        let known = gpus.clone().all(|d| d.memory.1 > 0);
        let gpus: u64 = gpus.map(|d| d.memory.0 as u64).sum();
        Room {
            here: free_here(),
            gpus: known.then_some(gpus),
        }
    }
}

/// What a context takes, of one kind of memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Need {
    /// Bytes of one token of context, for all sequences and both models.
    token: u64,
    /// Bytes that do not depend on the context.
    fixed: u64,
}

impl Need {
    /// The longest context for which `room` bytes are enough.
    fn longest(self, room: u64) -> u64 {
        let left = room.saturating_sub(self.fixed);
        let tokens = left.checked_div(self.token).unwrap_or(u64::MAX);
        tokens / STEP * STEP
    }

    fn of(self, context: u32) -> u64 {
        let tokens = self.token.saturating_mul(u64::from(context));
        tokens.saturating_add(self.fixed)
    }
}

/// What is asked of a context.
#[derive(Clone, Copy, Debug)]
pub struct Wish {
    /// Tokens that were asked for; `None` for what is usual, 0 for all that the target was trained
    /// for.
    pub context: Option<u32>,
    /// Tokens that the target was trained for.
    pub trained: u32,
    /// Sequences at a time; each has a context of its own.
    pub sequences: u32,
}

impl Wish {
    fn usual(self) -> u32 {
        DEFAULT_CONTEXT.min(self.trained)
    }

    /// The number of tokens that was asked for, if one was.
    fn number(self) -> Option<u32> {
        self.context.filter(|tokens| *tokens > 0)
    }
}

/// Tokens of context: those that were asked for, or what is usual, or less where the memory is
/// short. Says so in the log then.
///
/// # Errors
/// If what was asked for does not fit, or not even a short context does.
pub fn context(wish: Wish, occupants: &[Occupant], room: Room) -> Result<u32> {
    let (here, gpus) = needs(wish.sequences, occupants);
    let longest = |spare: u64| {
        let left = |room: u64| room - room / spare.max(1);
        let here_longest = room.here.map_or(u64::MAX, |room| here.longest(left(room)));
        let gpus_longest = room.gpus.map_or(u64::MAX, |room| gpus.longest(left(room)));
        here_longest.min(gpus_longest)
    };
    let (context, fits) = match wish.context {
        Some(0) => (wish.trained.min(LONGEST_CONTEXT), longest(LEFT_FREE)),
        // What was asked for may take all that is free.
        Some(asked) => (asked, longest(u64::MAX)),
        None => (wish.usual(), longest(LEFT_FREE)),
    };
    if u64::from(context) <= fits {
        return Ok(context);
    }
    let takes = here.of(context).saturating_add(gpus.of(context));
    let what = format!(
        "a context of {context} tokens for {} at a time takes {}, and there is room for {fits} tokens",
        sequences(wish.sequences),
        gib(takes),
    );
    let fewer_states = if occupants.iter().any(|o| o.saved > 0) {
        "lower --cache-ram, "
    } else {
        ""
    };
    let shorter = format!(
        "let each token take less with --cache-type-k q8_0 --cache-type-v q8_0, {fewer_states}lower \
         --parallel, or choose a smaller model"
    );
    if wish.number().is_some() {
        bail!("{what}: lower --ctx, {shorter}");
    }
    if fits == 0 {
        bail!("{what}: {shorter}");
    }
    tracing::warn!("{what}, so that is the context; to have more, {shorter}");
    // It is below `context`, which is a u32.
    Ok(fits as u32)
}

/// As [`context`], with room for one model more if there is that much: without it rather than with
/// no context.
///
/// # Errors
/// As [`context`], for the others.
pub fn context_beside(
    wish: Wish,
    occupants: &[Occupant],
    likely: Option<Occupant>,
    room: Room,
) -> Result<u32> {
    if let Some(likely) = likely {
        let mut all = occupants.to_vec();
        all.push(likely);
        match context(wish, &all, room) {
            Ok(tokens) => return Ok(tokens),
            Err(why) => tracing::warn!("with the largest drafter here, {why}"),
        }
    }
    context(wish, occupants, room)
}

/// What a context takes here and on GPUs.
fn needs(sequences: u32, occupants: &[Occupant]) -> (Need, Need) {
    let (mut here, mut gpus) = (Need::default(), Need::default());
    for occupant in occupants {
        let token = occupant
            .shape
            .cache_bytes(sequences.max(1).into(), occupant.cache);
        let spare = occupant
            .shape
            .cache_bytes(SPARE_CELLS.into(), occupant.cache);
        let states = contexts::state_bytes(&occupant.shape, occupant.role, sequences);
        let fixed = spare
            .saturating_add(states)
            .saturating_add(occupant.missing);
        let (token_there, fixed_there) = (occupant.on_gpus(token), occupant.on_gpus(fixed));
        gpus.token = gpus.token.saturating_add(token_there);
        gpus.fixed = gpus.fixed.saturating_add(fixed_there);
        here.token = here.token.saturating_add(token - token_there);
        here.fixed = here.fixed.saturating_add(fixed - fixed_there);
        here.fixed = here.fixed.saturating_add(occupant.saved);
    }
    (here, gpus)
}

fn sequences(n: u32) -> String {
    counted(n, "sequence")
}

/// Bytes in words.
pub fn gib(bytes: u64) -> String {
    format!("{:.1} GiB", bytes as f64 / f64::from(1 << 30))
}

/// Bytes of this machine's memory that are free, or that hold files which can be read again;
/// within the bounds that a container has. `None` where the system does not say.
pub fn free_here() -> Option<u64> {
    let machine = std::fs::read_to_string("/proc/meminfo").ok();
    let machine = machine.and_then(|text| available(&text));
    let group = |name: &str| std::fs::read_to_string(format!("/sys/fs/cgroup/{name}")).ok();
    let container = match (group("memory.max"), group("memory.current")) {
        (Some(most), Some(used)) => {
            let files = group("memory.stat").map_or(0, |text| cached(&text));
            left(&most, &used, files)
        }
        _ => None,
    };
    match (machine, container) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}

/// `MemAvailable` of /proc/meminfo, in bytes.
fn available(meminfo: &str) -> Option<u64> {
    let line = meminfo
        .lines()
        .find_map(|l| l.strip_prefix("MemAvailable:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

/// Bytes that a control group has left, `files` of which can be read again; `None` if it has no
/// bound.
fn left(most: &str, used: &str, files: u64) -> Option<u64> {
    let most: u64 = most.trim().parse().ok()?;
    let used: u64 = used.trim().parse().ok()?;
    Some(most.saturating_sub(used.saturating_sub(files)))
}

/// Bytes of files that a control group keeps in memory.
fn cached(stat: &str) -> u64 {
    let files = stat.lines().filter_map(|line| {
        let (name, bytes) = line.split_once(' ')?;
        let counts = name == "inactive_file" || name == "active_file";
        bytes.trim().parse::<u64>().ok().filter(|_| counts)
    });
    files.fold(0, u64::saturating_add)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 1 MiB of keys and values for each token.
    fn occupant() -> Occupant {
        Occupant {
            role: "target",
            shape: KvShape {
                keys: 1 << 18,
                values: 1 << 18,
                state: 0,
                snapshots: false,
                layers: 4,
                bytes: 1 << 30,
            },
            cache: CacheTypes::default(),
            gpu_layers: None,
            on_cpu: true,
            missing: 0,
            saved: 0,
        }
    }

    fn wish(context: Option<u32>) -> Wish {
        Wish {
            context,
            trained: 32_768,
            sequences: 1,
        }
    }

    const GIB: u64 = 1 << 30;

    fn here(bytes: u64) -> Room {
        Room {
            here: Some(bytes),
            gpus: None,
        }
    }

    #[test]
    fn what_fits_is_what_was_asked_for_or_usual() {
        let plenty = here(64 * GIB);
        assert_eq!(context(wish(None), &[occupant()], plenty).unwrap(), 4096);
        assert_eq!(
            context(wish(Some(8192)), &[occupant()], plenty).unwrap(),
            8192
        );
        let short = Wish {
            trained: 512,
            ..wish(None)
        };
        assert_eq!(context(short, &[occupant()], plenty).unwrap(), 512);
        // Where nothing is known, nothing is refused.
        let unknown = Room::unknown();
        assert_eq!(
            context(wish(Some(1 << 20)), &[occupant()], unknown).unwrap(),
            1 << 20
        );
        assert_eq!(context(wish(None), &[], plenty).unwrap(), 4096);
        // All that it was trained for, as far as there is room.
        let all = |room: Room| context(wish(Some(0)), &[occupant()], room).unwrap();
        assert_eq!(all(plenty), 32_768);
        assert_eq!(all(here(2 * GIB)), 1280);
        let unsaid = Wish {
            trained: u32::MAX,
            ..wish(Some(0))
        };
        assert_eq!(context(unsaid, &[], unknown).unwrap(), LONGEST_CONTEXT);
    }

    #[test]
    fn a_default_that_does_not_fit_is_shortened_and_a_wish_refused_with_the_remedy() {
        // 2,048 MiB, of which an eighth stays free and 512 are for candidates.
        assert_eq!(
            context(wish(None), &[occupant()], here(2 * GIB)).unwrap(),
            1280
        );
        let refused = context(wish(Some(2048)), &[occupant()], here(2 * GIB));
        let why = refused.unwrap_err().to_string();
        assert!(
            why.contains("room for 1536 tokens") && why.contains("--cache-type-k"),
            "{why}"
        );
        assert_eq!(
            context(wish(Some(1536)), &[occupant()], here(2 * GIB)).unwrap(),
            1536
        );
        assert!(context(wish(None), &[occupant()], here(GIB / 2)).is_err());
        let four = Wish {
            sequences: 4,
            ..wish(Some(1024))
        };
        assert!(context(four, &[occupant()], here(2 * GIB)).is_err());
    }

    #[test]
    fn a_drafter_that_nobody_named_gets_room_if_there_is_some() {
        let likely = Occupant {
            missing: GIB,
            ..occupant()
        };
        let with = |wish, bytes| context_beside(wish, &[occupant()], Some(likely), here(bytes));
        // 4 GiB and an eighth that stays free hold both: two times 512 MiB, the weights, and
        // 2,048 MiB for two models.
        let shared = GIB * 32 / 7;
        assert_eq!(with(wish(Some(1024)), 4 * GIB).unwrap(), 1024);
        assert_eq!(with(wish(None), shared + GIB / 64).unwrap(), 1024);
        // What was asked for is not refused for want of room for the drafter.
        assert_eq!(with(wish(Some(2048)), 4 * GIB).unwrap(), 2048);
        assert!(with(wish(Some(4096)), 4 * GIB).is_err());
        let alone = context_beside(wish(Some(2048)), &[occupant()], None, here(4 * GIB));
        assert_eq!(alone.unwrap(), 2048);
    }

    #[test]
    fn recurrent_states_take_their_room_whatever_the_context() {
        const MIB: u64 = 1 << 20;
        let hybrid = |role: &'static str| Occupant {
            role,
            shape: KvShape {
                state: MIB,
                snapshots: true,
                ..occupant().shape
            },
            ..occupant()
        };
        let (target, _) = needs(1, &[hybrid("target")]);
        assert_eq!((target.token, target.fixed), (MIB, (512 + 30) * MIB));
        let (both, _) = needs(1, &[hybrid("target"), hybrid("draft")]);
        assert_eq!(both.fixed, (2 * 512 + 30 + 21) * MIB);
        // 512 MiB of candidates, 30 of states and 512 tokens.
        let one = [hybrid("target")];
        let wish = wish(Some(512));
        assert_eq!(context(wish, &one, here(1054 * MIB)).unwrap(), 512);
        assert!(context(wish, &one, here(1053 * MIB)).is_err());
        // As many states more as there are sequences more.
        let (four, _) = needs(4, &one);
        assert_eq!(four.fixed, (512 + 75) * MIB);
        let on_gpus = Occupant {
            on_cpu: false,
            ..hybrid("target")
        };
        assert_eq!(needs(1, &[on_gpus]).1.fixed, (512 + 30) * MIB);
    }

    #[test]
    fn saved_states_take_memory_of_the_machine_wherever_the_model_is() {
        const MIB: u64 = 1 << 20;
        let hybrid = KvShape {
            state: MIB,
            ..occupant().shape
        };
        let target = |cache_ram, shape| {
            let settings = Settings {
                cache_ram,
                ..Settings::default()
            };
            Occupant::target(&settings, shape, 0)
        };
        // As many as are kept, or what they may take.
        assert_eq!(target(256, hybrid).saved, 64 * MIB);
        assert_eq!(target(10, hybrid).saved, 10 * MIB);
        assert_eq!(target(0, hybrid).saved, 0);
        assert_eq!(target(256, occupant().shape).saved, 0, "it has no states");
        let on_gpus = Occupant {
            on_cpu: false,
            gpu_layers: None,
            ..target(256, hybrid)
        };
        assert_eq!(needs(1, &[on_gpus]).0.fixed, 64 * MIB);
        // What would fit without them is refused, and the remedy named.
        let with = |saved| {
            let occupants = [Occupant {
                saved,
                ..occupant()
            }];
            context(wish(Some(512)), &occupants, here(1024 * MIB))
        };
        assert_eq!(with(0).unwrap(), 512);
        let why = with(MIB).unwrap_err().to_string();
        assert!(why.contains("--cache-ram"), "{why}");
    }

    #[test]
    fn layers_on_gpus_take_their_memory_there() {
        let split = Occupant {
            on_cpu: false,
            gpu_layers: Some(1),
            missing: GIB,
            ..occupant()
        };
        let (here, gpus) = needs(1, &[split]);
        assert_eq!((here.token, gpus.token), (3 << 18, 1 << 18));
        assert_eq!(gpus.fixed, (GIB + 512 * (1 << 20)) / 4);
        let all = Occupant {
            gpu_layers: None,
            ..split
        };
        let (here, gpus) = needs(1, &[all, occupant()]);
        assert_eq!((here.token, gpus.token), (1 << 20, 1 << 20));
        let room = Room {
            here: Some(64 * GIB),
            gpus: Some(2 * GIB),
        };
        // 1.5 of the 2 GiB are for weights and candidates.
        assert!(context(wish(Some(513)), &[all], room).is_err());
        assert_eq!(context(wish(Some(512)), &[all], room).unwrap(), 512);
    }

    #[test]
    fn what_the_system_says_is_read() {
        let text = "MemTotal:       16000000 kB\nMemAvailable:    8000 kB\n";
        assert_eq!(available(text), Some(8000 * 1024));
        assert_eq!(available("MemTotal: 1 kB\n"), None);
        assert_eq!(available("MemAvailable: x kB\n"), None);
        assert_eq!(left("1000\n", "900\n", 300), Some(400));
        assert_eq!(left("max\n", "900\n", 0), None);
        assert_eq!(left("100\n", "900\n", 0), Some(0));
        assert_eq!(
            cached("anon 5\ninactive_file 7\nactive_file 2\nfile x\n"),
            9
        );
    }
}
