//! One architecture: what every mode writes with every drafter, compared with plain decoding.

use std::collections::BTreeMap;

use card_core::forward::Model;
use card_core::policy::Mode;
use card_core::protocol::Lanes;
use card_core::sampler::SamplingParams;
use card_core::scheduler::Shapes;
use card_core::types::Token;
use card_engine::selftest::{self, Exactness, Means, SelfTestReport};
use card_engine::{Draft, Engine, Event, Generate, MakeModel, Options};
use card_llama::tiny::zoo::{self, Architecture, CONTEXT, TOKENS};
use card_llama::{
    ContextOptions, Cores, HeadModel, LlamaContext, LlamaModel, LoadOptions, head_context,
    on_own_thread,
};
use serde::{Deserialize, Serialize};

use crate::spoilt::Spoilt;

/// Tokens of the first text.
const FIRST: usize = 48;
/// Tokens of the first text that the second prompt repeats, and of the second text.
const SECOND: usize = 24;
/// Decisions with margins up to this are noted.
const NOTED: f32 = 4.0;
/// Seeds of the weights of the target, and of the other model.
const SEEDS: (u64, u64) = (1, 2);

/// Who proposes candidates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Proposer {
    /// The target itself, which is always right.
    Itself,
    /// The target, whose logits are noise at a quarter of the positions.
    Spoilt,
    /// A model of another architecture, which is mostly wrong.
    Another,
    /// No model, but a prediction that is wrong here and there, and the text itself.
    Sources,
    /// The head in the target's file, or the one in a file of its own.
    Head,
    /// The head, and the target whose logits are noise at a quarter of the positions.
    HeadAndSpoilt,
}

/// A mode, where the drafter runs, and the drafter.
type Schedule = (Mode, Lanes, Proposer);

/// The schedules that are tried; the short list has each mode and each drafter once at least.
fn schedules(short: bool) -> Vec<Schedule> {
    use Proposer::{Another, Itself, Sources, Spoilt};
    let all = [Itself, Spoilt, Another, Sources];
    if short {
        let mut list: Vec<Schedule> = all.map(|d| (Mode::Card, Lanes::Shared, d)).to_vec();
        list.push((Mode::Card, Lanes::Disjoint, Spoilt));
        list.push((Mode::DraftThenVerify, Lanes::Shared, Spoilt));
        list.push((Mode::Auto, Lanes::Shared, Itself));
        return list;
    }
    let lanes = [
        (Mode::Auto, Lanes::Shared),
        (Mode::Card, Lanes::Shared),
        (Mode::DraftThenVerify, Lanes::Shared),
        (Mode::Card, Lanes::Disjoint),
    ];
    let each = |(mode, lanes)| all.map(|drafter| (mode, lanes, drafter));
    let list = lanes.into_iter().flat_map(each);
    // Sources have no lane.
    list.filter(|&(_, lanes, drafter)| lanes == Lanes::Shared || drafter != Sources)
        .collect()
}

/// The schedules that are tried with a head.
fn head_schedules() -> Vec<Schedule> {
    use Proposer::{Head, HeadAndSpoilt};
    let modes = [Mode::Auto, Mode::Card, Mode::DraftThenVerify];
    let alone = modes.map(|mode| (mode, Lanes::Shared, Head));
    let mut list = alone.to_vec();
    list.push((Mode::Card, Lanes::Disjoint, Head));
    list.push((Mode::Card, Lanes::Shared, HeadAndSpoilt));
    list.push((Mode::Card, Lanes::Disjoint, HeadAndSpoilt));
    list
}

/// How a schedule's texts compare with plain decoding's.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum TextVerdict {
    /// They are the same.
    Same,
    /// A decision came out otherwise whose margin is below the bound within which the self-test
    /// saw logits differ by the shape of the forward.
    NearTie { position: u32, margin: f32 },
    /// They differ.
    Differs { position: u32, margin: Option<f32> },
    /// There is none.
    Failed(String),
}

/// What one schedule did.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Run {
    /// Mode, lanes and drafter.
    pub schedule: String,
    /// Whether candidates must have been verified, else the run proved nothing.
    pub must_verify: bool,
    pub verdict: TextVerdict,
    /// Candidates that were verified.
    pub offered: usize,
    /// Candidates that were accepted.
    pub accepted: usize,
}

impl Run {
    /// Why the run does not count as plain decoding's text; `None` if it does.
    pub fn fault(&self) -> Option<String> {
        let what = match &self.verdict {
            TextVerdict::Same | TextVerdict::NearTie { .. }
                if self.must_verify && self.offered == 0 =>
            {
                "verified nothing, so it proved nothing".into()
            }
            TextVerdict::Same | TextVerdict::NearTie { .. } => return None,
            TextVerdict::Differs { position, margin } => match margin {
                Some(margin) => format!("differs at position {position}, margin {margin}"),
                None => format!("differs at position {position}, far from a tie"),
            },
            TextVerdict::Failed(why) => why.clone(),
        };
        Some(format!("{}: {what}", self.schedule))
    }
}

/// What all schedules did.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// By what means the text is kept exact.
    pub means: String,
    pub runs: Vec<Run>,
}

/// Two texts, the second behind a prompt that begins as the first did.
struct Talk {
    turns: Vec<Turn>,
    offered: usize,
    accepted: usize,
}

/// A text.
struct Turn {
    /// Tokens of the prompt.
    prompt: usize,
    tokens: Vec<Token>,
    /// Margins of close decisions, by position.
    margins: BTreeMap<u32, f32>,
}

/// Compares every schedule with plain decoding.
///
/// # Errors
/// If the model cannot be made, or not even be decoded plainly.
pub fn compare(architecture: &Architecture, short: bool) -> Result<Report, String> {
    let model = zoo::model(architecture, SEEDS.0).map_err(|e| e.to_string())?;
    let other = another(architecture, &model)?;
    let report = self_test(&model)?;
    let setup = Setup {
        model: &model,
        other: &other,
        head: None,
        shapes: report.shapes(Exactness::Exact),
        report: &report,
    };
    let plain = setup.talk(None, None)?;
    Ok(compared(&setup, &plain, schedules(short)))
}

/// Compares every schedule with a head with plain decoding of the same model, loaded without its
/// head. A head that is mostly wrong comes first, then one that is nearly always right.
///
/// # Errors
/// If the models cannot be made, or not even be decoded plainly; if nothing was accepted of a head
/// that is right.
pub fn compare_heads(architecture: &Architecture) -> Result<Report, String> {
    let mut all: Option<Report> = None;
    for right in [false, true] {
        let (without, model) = with_head(architecture, right)?;
        let report = self_test(&without)?;
        let setup = |model| Setup {
            model,
            other: &without,
            head: None,
            shapes: report.shapes(Exactness::Exact),
            report: &report,
        };
        let plain = setup(&without).talk(None, None)?;
        let found = compared(&setup(&model), &plain, head_schedules());
        if right {
            check_gain(&found)?;
        }
        match &mut all {
            Some(all) => all.runs.extend(found.runs),
            None => all = Some(found),
        }
    }
    all.ok_or_else(|| "nothing was compared".into())
}

/// What a head in a file of its own is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum HeadForm {
    /// EAGLE-3, mostly wrong.
    Wrong,
    /// EAGLE-3, nearly always right.
    Right,
    /// A block drafter, mostly wrong; with a Markov head or without.
    Block { markov: bool },
}

/// Compares every schedule with heads in files of their own with plain decoding of the same model.
///
/// # Errors
/// As [`compare_heads`].
pub fn compare_head_files(architecture: &Architecture) -> Result<Report, String> {
    use HeadForm::{Block, Right, Wrong};
    let forms: &[HeadForm] = match architecture.name() {
        // It is narrow, and its layers add to a token's embedding whatever their weights are.
        "gemma4" => &[Wrong],
        "llama" => &[
            Wrong,
            Right,
            Block { markov: false },
            Block { markov: true },
        ],
        _ => &[Wrong, Right],
    };
    let mut all: Option<Report> = None;
    for &form in forms {
        let (model, head) = with_head_file(architecture, form)?;
        let report = self_test(&model)?;
        let setup = Setup {
            model: &model,
            other: &model,
            head: Some(&head),
            shapes: report.shapes(Exactness::Exact),
            report: &report,
        };
        let plain = setup.talk(None, None)?;
        let found = compared(&setup, &plain, head_schedules());
        if form == Right {
            check_gain(&found)?;
        }
        match &mut all {
            Some(all) => all.runs.extend(found.runs),
            None => all = Some(found),
        }
    }
    all.ok_or_else(|| "nothing was compared".into())
}

/// A model, and a head in a file of its own.
fn with_head_file(
    architecture: &Architecture,
    form: HeadForm,
) -> Result<(LlamaModel, HeadModel), String> {
    let (of_target, of_head) = SEEDS;
    let (target, head) = match form {
        HeadForm::Right => (
            zoo::forgetful(architecture, of_target),
            zoo::right_head_file(architecture, of_target),
        ),
        HeadForm::Wrong => (
            zoo::write(architecture, of_target),
            zoo::head_file(architecture, of_head),
        ),
        HeadForm::Block { markov } => (
            zoo::write(architecture, of_target),
            zoo::block_head_file(architecture, of_head, markov),
        ),
    };
    let (target, head) = (
        target.map_err(|e| e.to_string())?,
        head.map_err(|e| e.to_string())?,
    );
    let options = LoadOptions::default();
    let model = LlamaModel::load(&target, &options, &mut |_| {});
    let both = model.and_then(|model| {
        let head = HeadModel::load(&head, &model, &options, &mut |_| {})?;
        Ok((model, head))
    });
    for file in [target, head] {
        let _ = std::fs::remove_file(file);
    }
    both.map_err(|e| e.to_string())
}

/// A model with a head, loaded without the head and with it.
fn with_head(architecture: &Architecture, right: bool) -> Result<(LlamaModel, LlamaModel), String> {
    let file = if right {
        zoo::with_right_head(architecture, SEEDS.0)
    } else {
        zoo::with_head(architecture, SEEDS.0)
    };
    let file = file.map_err(|e| e.to_string())?;
    let load = |head| {
        let options = LoadOptions {
            head,
            ..LoadOptions::default()
        };
        LlamaModel::load(&file, &options, &mut |_| {}).map_err(|e| e.to_string())
    };
    let models = load(false).and_then(|without| Ok((without, load(true)?)));
    let _ = std::fs::remove_file(&file);
    models
}

/// Checks that a head that is nearly always right wrote much of the texts where candidates are
/// verified every round.
fn check_gain(report: &Report) -> Result<(), String> {
    let mut always = report.runs.iter().filter(|run| run.must_verify);
    match always.find(|run| 3 * run.accepted < FIRST + SECOND) {
        None => Ok(()),
        Some(run) => Err(format!(
            "{}: only {} of {} candidates of a head that is right were accepted",
            run.schedule, run.accepted, run.offered
        )),
    }
}

/// Compares these schedules with plain decoding's texts.
fn compared(setup: &Setup<'_>, plain: &Talk, schedules: Vec<Schedule>) -> Report {
    let report = setup.report;
    // Where logits are plain decoding's, no margin excuses another text.
    let bound = match report.means() {
        Means::AnyShape | Means::OneClass | Means::PlainOnly => 0.0,
        Means::NearTies => report.margin_bound(),
    };
    let run = |(mode, lanes, drafter): Schedule| {
        let talk = setup.talk(Some((mode, lanes, drafter)), Some(plain));
        let always = matches!(drafter, Proposer::Itself | Proposer::Head);
        let (offered, accepted) = talk.as_ref().map_or((0, 0), |t| (t.offered, t.accepted));
        Run {
            schedule: format!("{mode:?}, {lanes:?}, {drafter:?}").to_lowercase(),
            must_verify: always && lanes == Lanes::Shared && mode != Mode::Auto,
            verdict: talk.map_or_else(TextVerdict::Failed, |talk| verdict(plain, &talk, bound)),
            offered,
            accepted,
        }
    };
    Report {
        means: report.means().name().into(),
        runs: schedules.into_iter().map(run).collect(),
    }
}

/// A model of another architecture with as many tokens, if there is one; else one with other
/// weights.
fn another(architecture: &Architecture, model: &LlamaModel) -> Result<LlamaModel, String> {
    let label = match architecture.label() {
        own if model.vocab().len() != TOKENS as usize => own,
        "llama" => "qwen3",
        _ => "llama",
    };
    let other = zoo::find(label).ok_or_else(|| format!("there is no {label}"))?;
    zoo::model(other, SEEDS.1).map_err(|e| e.to_string())
}

/// Small models gain nothing by more threads than two.
fn threads() -> usize {
    std::thread::available_parallelism()
        .map_or(1, usize::from)
        .min(2)
}

fn options(role: &'static str, cores: &Cores) -> ContextOptions {
    ContextOptions {
        role,
        context: CONTEXT,
        sequences: 1,
        spare_cells: 256,
        rows: 64,
        in_order: false,
        cores: cores.clone(),
    }
}

fn context(model: &LlamaModel, role: &'static str, cores: &Cores) -> Result<LlamaContext, String> {
    LlamaContext::new(model, &options(role, cores)).map_err(|e| e.to_string())
}

/// The head of the setup, for a target whose context this is: the one in a file of its own, or that of
/// the target's file.
fn head(setup: &Setup<'_>, target: &mut LlamaContext, cores: &Cores) -> Result<Draft, String> {
    let options = options("head", cores);
    let context = match setup.head {
        None => target
            .keep_states()
            .and_then(|states| LlamaContext::of_head(setup.model, &options, states))
            .map(|made| Box::new(made) as Box<dyn Model + Send>),
        Some(head) => target
            .keep_layers(head)
            .and_then(|states| head_context(head, &options, states, None)),
    };
    let context = context.map_err(|e| e.to_string())?;
    let again: MakeModel = Box::new(|| -> Result<Box<dyn Model + Send>, String> {
        Err("a head that fails stays away".into())
    });
    Ok(Draft::head(context, again))
}

fn self_test(model: &LlamaModel) -> Result<SelfTestReport, String> {
    let passage: Vec<Token> = (0..40).map(|i| (i * 41 + 17) % (TOKENS - 1) + 1).collect();
    let mut context = context(model, "target", &Cores::one_lane(threads()))?;
    on_own_thread(|| selftest::run(&mut context, &passage, &selftest::HEADS, &mut |_, _| {}))
        .map_err(|e| format!("the self-test: {e}"))
}

/// The models, and what the self-test found of the target.
struct Setup<'a> {
    model: &'a LlamaModel,
    other: &'a LlamaModel,
    /// The head in a file of its own, if it is not in the target's.
    head: Option<&'a HeadModel>,
    shapes: Shapes,
    report: &'a SelfTestReport,
}

impl Setup<'_> {
    /// An engine; of plain decoding if there is no schedule.
    fn engine(&self, schedule: Option<Schedule>) -> Result<Engine, String> {
        let (mode, lanes, drafter) =
            schedule.unwrap_or((Mode::Plain, Lanes::Shared, Proposer::Sources));
        let (cores, draft_cores) = match lanes {
            Lanes::Disjoint => Cores::two_lanes(threads().div_ceil(2), 1),
            Lanes::Shared => {
                let one = Cores::one_lane(threads());
                (one.clone(), one)
            }
        };
        let mut target = Box::new(context(self.model, "target", &cores)?);
        let draft = |model| context(model, "draft", &draft_cores);
        let beside = |model: Box<dyn Model + Send>| Draft::from(model);
        let drafts: Vec<Draft> = match drafter {
            Proposer::Itself => vec![beside(Box::new(draft(self.model)?))],
            Proposer::Spoilt => vec![beside(Box::new(Spoilt::new(draft(self.model)?, 0.25)))],
            Proposer::Another => vec![beside(Box::new(draft(self.other)?))],
            Proposer::Sources => Vec::new(),
            Proposer::Head => vec![head(self, &mut target, &cores)?],
            Proposer::HeadAndSpoilt => vec![
                beside(Box::new(Spoilt::new(draft(self.model)?, 0.25))),
                head(self, &mut target, &cores)?,
            ],
        };
        // A model that saves states is reused from them only where the shape of a forward does not
        // count, as in the product: a prompt is read in other pieces then.
        let any_shape = self.report.means() == Means::AnyShape;
        let reuses = any_shape || target.limits().rollback.is_free();
        let reuses = reuses && self.model.reuses_prefixes();
        let options = Options {
            mode,
            lanes,
            shapes: self.shapes,
            near_tie: NOTED,
            target_cost: self.report.cost(),
            prefix_slots: usize::from(mode != Mode::Plain && reuses),
            ..Options::default()
        };
        Engine::start(target, drafts, options).map_err(|e| e.to_string())
    }

    /// Both texts, the second behind a part of `plain`'s first, or of its own.
    fn talk(&self, schedule: Option<Schedule>, plain: Option<&Talk>) -> Result<Talk, String> {
        let engine = self.engine(schedule)?;
        let predicted = matches!(schedule, Some((_, _, Proposer::Sources)));
        let mut talk = Talk {
            turns: Vec::new(),
            offered: 0,
            accepted: 0,
        };
        let mut prompt: Vec<Token> = (0..12).map(|i| (i * 37 + 11) % (TOKENS - 1) + 1).collect();
        for (i, tokens) in [FIRST, SECOND].into_iter().enumerate() {
            let expected = plain.map(|plain| plain.turns[i].tokens.as_slice());
            let prediction = match expected {
                Some(expected) if predicted => nearly(expected),
                _ => Vec::new(),
            };
            talk.turn(&engine, &prompt, tokens, prediction)?;
            let own = talk.turns[i].tokens.as_slice();
            let written = expected.unwrap_or(own);
            prompt.extend(written.iter().take(SECOND).copied());
            prompt.extend([3, 5, 7, 11]);
        }
        Ok(talk)
    }
}

/// A text with a wrong token now and then.
fn nearly(text: &[Token]) -> Vec<Token> {
    let wrong = |(i, &token): (usize, &Token)| match i % 5 {
        4 => (token + 1) % TOKENS,
        _ => token,
    };
    text.iter().enumerate().map(wrong).collect()
}

impl Talk {
    /// Generates a text and adds it.
    fn turn(
        &mut self,
        engine: &Engine,
        prompt: &[Token],
        max_tokens: usize,
        prediction: Vec<Token>,
    ) -> Result<(), String> {
        let request = Generate {
            prompt: prompt.to_vec(),
            params: SamplingParams {
                temperature: 1.0,
                seed: 7,
                ..SamplingParams::default()
            },
            max_tokens: max_tokens as u32,
            prediction: prediction.into(),
            ..Generate::default()
        };
        let stream = engine.generate(request).map_err(|e| e.to_string())?;
        let mut turn = Turn {
            prompt: prompt.len(),
            tokens: Vec::new(),
            margins: BTreeMap::new(),
        };
        loop {
            match stream.next() {
                Some(Event::Tokens(tokens)) => turn.tokens.extend(tokens),
                Some(Event::Round(round)) => {
                    turn.margins.extend(round.near_ties.iter().copied());
                    self.accepted += round.accepted.len();
                    self.offered += round.offered;
                }
                Some(Event::Finished(_)) => break,
                Some(Event::Failed(failure)) => return Err(failure.to_string()),
                None => return Err("the generation has no end".into()),
            }
        }
        self.turns.push(turn);
        Ok(())
    }
}

/// Compares two texts with plain decoding's.
fn verdict(plain: &Talk, found: &Talk, bound: f32) -> TextVerdict {
    for (plain, found) in plain.turns.iter().zip(&found.turns) {
        if plain.tokens == found.tokens {
            continue;
        }
        let pairs = plain.tokens.iter().zip(&found.tokens);
        let same = pairs.take_while(|(a, b)| a == b).count();
        let position = (plain.prompt + same) as u32;
        let margin = plain.margins.get(&position).copied();
        return match margin {
            Some(margin) if margin < bound => TextVerdict::NearTie { position, margin },
            _ => TextVerdict::Differs { position, margin },
        };
    }
    TextVerdict::Same
}
