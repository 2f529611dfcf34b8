//! Real models for tests: found where `card pull` keeps them, run, compared.

mod spoilt;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use card_core::forward::{Forward, KvOp, Limits, Logits, Model, ModelError};
use card_core::policy::Mode;
use card_core::protocol::Lanes;
use card_core::sampler::SamplingParams;
use card_core::scheduler::Shapes;
use card_core::types::{SourceSet, Token};
use card_engine::selftest::{self, SelfTestReport};
use card_engine::{Engine, Event, Generate, Options, Stream};
use card_llama::{
    ContextOptions, Cores, Kernels, LlamaContext, LlamaModel, LoadOptions, Vocab, on_own_thread,
};

pub use spoilt::Spoilt;

/// Prompts of the kinds people send: mathematics, code, chat, several languages.
pub const PROMPTS: [&str; 20] = [
    "A train travels 60 km in 45 minutes. How far does it travel in two hours?",
    "Solve for x: 3x + 7 = 25. Show each step.",
    "What is the sum of the first 50 odd numbers?",
    "A shop sells pens at 3 for 2 euros. What do 18 pens cost?",
    "def fibonacci(n):\n    \"\"\"Return the n-th Fibonacci number.\"\"\"\n",
    "Write a Python function that checks whether a string is a palindrome.",
    "fn main() {\n    let numbers = vec![3, 1, 2];\n",
    "Explain what this does: for i in range(10): print(i * i)",
    "SELECT name, COUNT(*) FROM orders",
    "Write a short poem about the sea.",
    "Who was Marie Curie, and what is she known for?",
    "Give me three tips for a good night's sleep.",
    "The quick brown fox",
    "Once upon a time, in a village at the foot of a mountain,",
    "日本の首都はどこですか？",
    "Erkläre in zwei Sätzen, was ein Kompilator ist.",
    "¿Cuál es la diferencia entre un virus y una bacteria?",
    "Qu'est-ce que la photosynthèse ?",
    "List the planets of the solar system in order.",
    "To be, or not to be, that is the question:",
];

/// Where `card pull` put a model.
pub fn model_file(name: &str) -> PathBuf {
    let home = std::env::var_os("CARD_HOME").map(PathBuf::from);
    let cache = || {
        let xdg = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
        let user = || PathBuf::from(std::env::var_os("HOME").unwrap_or_default()).join(".cache");
        xdg.unwrap_or_else(user).join("card")
    };
    let file = home.unwrap_or_else(cache).join("models").join(name);
    assert!(
        file.exists(),
        "{} is missing: run `cargo run --release -p card -- pull smol` and `… pull qwen-coder` first",
        file.display()
    );
    file
}

pub fn load(name: &str, kernels: Kernels) -> LlamaModel {
    let options = LoadOptions {
        kernels,
        ..LoadOptions::default()
    };
    LlamaModel::load(&model_file(name), &options, &mut |_| {}).expect("the model loads")
}

/// The cores of target and drafter: all for both in turn, or split.
pub fn cores(lanes: Lanes) -> (Cores, Cores) {
    let all = std::thread::available_parallelism().map_or(1, usize::from);
    match lanes {
        Lanes::Disjoint => Cores::two_lanes((all - 1).max(1), 1),
        Lanes::Shared => {
            let one = Cores::one_lane(all);
            (one.clone(), one)
        }
    }
}

pub fn context(model: &LlamaModel, cores: &Cores) -> LlamaContext {
    contexts(model, cores, 1024, 1)
}

/// A context for several sequences of so many tokens.
pub fn contexts(model: &LlamaModel, cores: &Cores, context: u32, sequences: u32) -> LlamaContext {
    let options = ContextOptions {
        role: "target",
        context,
        sequences,
        spare_cells: 512,
        rows: 128,
        in_order: sequences > 1,
        cores: cores.clone(),
    };
    LlamaContext::new(model, &options).expect("a context")
}

pub fn self_test(model: &LlamaModel) -> SelfTestReport {
    let text = "A list is sorted if each element is at most the next one. To sort a list of \
        numbers, compare neighbours and swap those in the wrong order, until nothing changes any \
        more; better methods split the list first.";
    let mut passage = model.vocab().tokenize(text, false).expect("tokens");
    passage.truncate(40);
    let mut context = context(model, &cores(Lanes::Shared).0);
    on_own_thread(|| selftest::run(&mut context, &passage, &selftest::HEADS, &mut |_, _| {}))
        .expect("a report")
}

/// A target that notes the logits it was asked for, by position.
pub struct Recorder {
    pub inner: LlamaContext,
    pub positions: Vec<u32>,
    pub notes: Arc<Mutex<BTreeMap<u32, u64>>>,
}

impl Recorder {
    pub fn new(inner: LlamaContext) -> (Self, Arc<Mutex<BTreeMap<u32, u64>>>) {
        let notes = Arc::default();
        let recorder = Recorder {
            inner,
            positions: Vec::new(),
            notes: Arc::clone(&notes),
        };
        (recorder, notes)
    }
}

impl Logits for Recorder {
    fn row(&self, i: usize) -> &[f32] {
        let row = self.inner.row(i);
        let hash = selftest::fingerprint(row);
        self.notes
            .lock()
            .expect("notes")
            .insert(self.positions[i], hash);
        row
    }
}

impl Model for Recorder {
    fn limits(&self) -> Limits {
        self.inner.limits()
    }
    fn vocab(&self) -> usize {
        self.inner.vocab()
    }
    fn apply(&mut self, op: KvOp) -> Result<(), ModelError> {
        self.inner.apply(op)
    }
    fn reset(&mut self) -> Result<(), ModelError> {
        self.inner.reset()
    }
    fn forward(&mut self, forward: &Forward) -> Result<(), ModelError> {
        self.positions = forward.rows.iter().map(|r| r.position).collect();
        self.inner.forward(forward)
    }
}

/// How to run.
#[derive(Clone, Copy, Debug)]
pub struct Setup {
    pub mode: Mode,
    pub lanes: Lanes,
    pub shapes: Shapes,
}

/// Tokens of a generation, with the margin of every close decision by position.
pub struct Text {
    pub prompt: usize,
    pub tokens: Vec<Token>,
    pub margins: BTreeMap<u32, f32>,
    pub accepted: usize,
    pub offered: usize,
    /// Tokens of the prompt that an earlier sequence had decoded.
    pub reused: usize,
    /// Whose candidates were accepted.
    pub sources: SourceSet,
}

/// Decisions with margins up to this are noted.
pub const NOTED: f32 = 4.0;

pub fn start(
    target: Box<dyn Model + Send>,
    drafts: impl IntoIterator<Item = Box<dyn Model + Send>>,
    setup: Setup,
    report: &SelfTestReport,
) -> Engine {
    start_keeping(target, drafts, setup, report, 0)
}

/// An engine that keeps so many finished sequences for prompts that begin alike.
pub fn start_keeping(
    target: Box<dyn Model + Send>,
    drafts: impl IntoIterator<Item = Box<dyn Model + Send>>,
    setup: Setup,
    report: &SelfTestReport,
    prefix_slots: usize,
) -> Engine {
    let options = Options {
        mode: setup.mode,
        lanes: setup.lanes,
        shapes: setup.shapes,
        prefix_slots,
        near_tie: NOTED,
        target_cost: report.cost(),
        ..Options::default()
    };
    Engine::start(target, drafts, options).expect("threads")
}

pub fn generate(
    engine: &Engine,
    vocab: &Vocab,
    prompt: &str,
    params: &SamplingParams,
    max_tokens: u32,
) -> Text {
    read(
        &ask(engine, vocab, prompt, params, max_tokens),
        vocab,
        prompt,
    )
}

/// Starts a generation, to be [read].
pub fn ask(
    engine: &Engine,
    vocab: &Vocab,
    prompt: &str,
    params: &SamplingParams,
    max_tokens: u32,
) -> Stream {
    engine
        .generate(Generate {
            prompt: vocab.tokenize(prompt, false).expect("tokens"),
            params: params.clone(),
            max_tokens,
            ..Generate::default()
        })
        .expect("a running engine")
}

pub fn read(stream: &Stream, vocab: &Vocab, prompt: &str) -> Text {
    let mut text = Text {
        prompt: vocab.tokenize(prompt, false).expect("tokens").len(),
        tokens: Vec::new(),
        margins: BTreeMap::new(),
        accepted: 0,
        offered: 0,
        reused: 0,
        sources: SourceSet::default(),
    };
    while let Some(event) = stream.next() {
        match event {
            Event::Tokens(tokens) => text.tokens.extend(tokens),
            Event::Round(round) => {
                text.margins.extend(round.near_ties.iter().copied());
                text.accepted += round.accepted.len();
                text.offered += round.offered;
                text.reused = round.reused;
                for sources in &round.accepted {
                    text.sources = text.sources.union(*sources);
                }
            }
            Event::Finished(_) => break,
            Event::Failed(failure) => panic!("{failure}"),
        }
    }
    text
}

/// Checks that `fast` is `plain`, but for a near-tie that came out otherwise: from there
/// on they may differ. Returns whether there was one.
pub fn compare(what: &str, plain: &Text, fast: &Text, bound: f32) -> bool {
    assert_eq!(plain.tokens.len(), fast.tokens.len(), "{what}: length");
    let differs = plain
        .tokens
        .iter()
        .zip(&fast.tokens)
        .position(|(a, b)| a != b);
    let Some(at) = differs else { return false };
    let position = (plain.prompt + at) as u32;
    let margin = plain
        .margins
        .get(&position)
        .copied()
        .unwrap_or(f32::INFINITY);
    println!("{what}: a near-tie at position {position}, margin {margin:.4} (bound {bound:.4})");
    assert!(
        margin < bound,
        "{what}: differs at position {position}, where the margin is {margin}, not below {bound}"
    );
    true
}
