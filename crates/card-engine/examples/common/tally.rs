//! Kinds of texts, and how many of each kind differ from plain decoding's.

use card_core::policy::Mode;
use card_core::sampler::SamplingParams;
use card_engine::selftest::Exactness;

use super::asking::Text;

/// Reads a level on a command line.
pub fn exactness(name: &str) -> Result<Exactness, String> {
    match name {
        "exact" => Ok(Exactness::Exact),
        "fast" => Ok(Exactness::Fast),
        _ => Err("there are exact and fast".into()),
    }
}

/// Reads a mode on a command line.
pub fn mode(name: &str) -> Result<Mode, String> {
    let all = [Mode::Auto, Mode::Card, Mode::DraftThenVerify, Mode::Plain];
    let found = all.into_iter().find(|m| mode_name(*m) == name);
    found.ok_or_else(|| format!("there are {}", all.map(mode_name).join(", ")))
}

fn mode_name(mode: Mode) -> &'static str {
    match mode {
        Mode::Auto => "auto",
        Mode::Card => "card",
        Mode::DraftThenVerify => "draft-then-verify",
        Mode::Plain => "plain",
    }
}

/// How tokens are chosen: `None` for greedily, else the temperature.
#[derive(Clone, Copy)]
pub struct ExampleSampling(pub Option<f32>);

/// Reads it on a command line.
pub fn sampling(name: &str) -> Result<ExampleSampling, String> {
    if name == "greedy" {
        return Ok(ExampleSampling(None));
    }
    let temperature = name.parse::<f32>();
    let temperature = temperature.map_err(|_| "it is greedy, or a temperature like 0.8")?;
    Ok(ExampleSampling(Some(temperature)))
}

impl ExampleSampling {
    /// As tables call it.
    pub fn name(self) -> String {
        self.0.map_or("greedy".into(), |t| format!("at {t}"))
    }

    /// The settings, with a seed of the noise.
    pub fn params(self, seed: u64) -> SamplingParams {
        SamplingParams {
            temperature: self.0.unwrap_or(0.0),
            seed,
            ..SamplingParams::default()
        }
    }
}

/// What else the engine does or did.
#[derive(Clone, Copy)]
pub enum Company {
    /// Nothing.
    Alone,
    /// Others run at the same time.
    Among,
    /// The same prompt was asked before.
    Cached,
}

/// Reads a company on a command line.
pub fn company(name: &str) -> Result<Company, String> {
    let all = [Company::Alone, Company::Among, Company::Cached];
    let found = all.into_iter().find(|c| c.name() == name);
    found.ok_or_else(|| "there are alone, among and cached".into())
}

impl Company {
    fn name(self) -> &'static str {
        match self {
            Company::Alone => "alone",
            Company::Among => "among",
            Company::Cached => "cached",
        }
    }
}

/// Where a text left plain decoding's.
#[derive(Clone, Copy)]
struct Leaving {
    /// The number of its prompt.
    prompt: usize,
    /// The token.
    at: usize,
    /// Plain decoding's margin there, in logits.
    margin: Option<f32>,
}

/// What became of the texts of one kind.
pub struct Tally {
    sampling: ExampleSampling,
    /// The mode.
    pub mode: Mode,
    /// The company.
    pub company: Company,
    /// Texts there were.
    pub texts: usize,
    /// Texts that were not plain decoding's.
    pub differ: usize,
    first: Option<Leaving>,
    /// Numbers of all texts of the kind together.
    all: Text,
}

impl Tally {
    /// Of no text yet.
    pub fn new(sampling: ExampleSampling, mode: Mode, company: Company) -> Self {
        Tally {
            sampling,
            mode,
            company,
            texts: 0,
            differ: 0,
            first: None,
            all: Text::default(),
        }
    }

    /// Adds a text. Its prompt has this number and so many tokens.
    pub fn add(&mut self, number: usize, prompt: usize, plain: &Text, text: &Text) {
        self.texts += 1;
        self.all.offered += text.offered;
        self.all.accepted += text.accepted;
        self.all.rounds += text.rounds;
        self.all.mixed += text.mixed;
        self.all.reused += text.reused;
        if plain.tokens == text.tokens {
            return;
        }
        let pairs = plain.tokens.iter().zip(&text.tokens);
        let at = pairs.take_while(|(a, b)| a == b).count();
        let margin = plain.margins.get(&((prompt + at) as u32)).copied();
        let leaving = Leaving {
            prompt: number,
            at,
            margin,
        };
        self.differ += 1;
        self.first = self.first.or(Some(leaving));
        eprintln!(
            "  {}, {}: another text from token {at} on; plain decoding's margin there: {}",
            mode_name(self.mode),
            self.company.name(),
            shown(margin)
        );
    }

    fn row(&self) -> Vec<String> {
        let place = |l: Leaving| format!("prompt {}, token {}", l.prompt, l.at);
        let none = || "–".to_owned();
        vec![
            self.sampling.name(),
            mode_name(self.mode).into(),
            self.company.name().into(),
            self.texts.to_string(),
            self.differ.to_string(),
            self.first.map_or_else(none, place),
            self.first.map_or_else(none, |l| shown(l.margin)),
            format!("{} of {}", self.all.accepted, self.all.offered),
            format!("{} of {}", self.all.mixed, self.all.rounds),
            self.all.reused.to_string(),
        ]
    }
}

fn shown(margin: Option<f32>) -> String {
    margin.map_or("unknown".into(), |m| format!("{m:.4}"))
}

/// Prints all of them as a table.
pub fn print(tallies: &[Tally]) {
    let head = [
        "sampling",
        "mode",
        "company",
        "texts",
        "differ",
        "first leaves at",
        "plain's margin there",
        "candidates accepted",
        "forwards shared with others",
        "prompt tokens reused",
    ];
    let rows: Vec<_> = tallies.iter().map(Tally::row).collect();
    super::table(3, &head.map(str::to_owned), &rows);
}
