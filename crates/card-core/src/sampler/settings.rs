//! How a request samples: the settings as asked for, and the same once checked.

use std::ops::Deref;

use super::bias::LogitBias;

/// How the next token is chosen, as a request asks for it. The default is greedy. Nothing samples
/// by these settings until they are [checked](SamplingParams::checked).
///
/// ```
/// use card_core::sampler::SamplingParams;
///
/// let params = SamplingParams {
///     temperature: 0.8,
///     top_p: 0.95,
///     ..SamplingParams::default()
/// };
/// assert!(params.checked().is_ok());
/// let wrong = SamplingParams {
///     top_p: 0.0,
///     ..SamplingParams::default()
/// };
/// let error = wrong.checked().expect_err("nothing would be left to choose from");
/// assert_eq!(error.name, "top-p");
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct SamplingParams {
    /// 0 takes the most probable token; 1 samples from the model's distribution.
    pub temperature: f32,
    /// Only the `top_k` most probable tokens can be chosen; 0 for all.
    pub top_k: u32,
    /// Only the most probable tokens whose probabilities add up to this can be chosen; 1 for all.
    pub top_p: f32,
    /// Only tokens at least this fraction as probable as the best one can be chosen; 0 for all.
    pub min_p: f32,
    /// What the logit of a token seen lately is divided by (multiplied, if it is negative); 1 for
    /// no penalty.
    pub repeat_penalty: f32,
    /// What is taken from the logit for every time the token was seen lately, from
    /// `generated_from` on.
    pub frequency_penalty: f32,
    /// What is taken once from the logit of a token seen lately, from `generated_from` on.
    pub presence_penalty: f32,
    /// How many of the last tokens count as lately.
    pub penalty_window: u32,
    /// Index of the first token that the frequency and the presence penalty count: the length of
    /// the prompt where they count what was generated only, 0 where they count the prompt as
    /// well. The repeat penalty counts both in any case.
    pub generated_from: u32,
    /// Tokens that are banned, and tokens whose logits are raised or lowered.
    pub logit_bias: LogitBias,
    /// The seed of the noise.
    pub seed: u64,
}

impl Default for SamplingParams {
    fn default() -> Self {
        SamplingParams {
            temperature: 0.0,
            top_k: 0,
            top_p: 1.0,
            min_p: 0.0,
            repeat_penalty: 1.0,
            frequency_penalty: 0.0,
            presence_penalty: 0.0,
            penalty_window: 64,
            generated_from: 0,
            logit_bias: LogitBias::default(),
            seed: 0,
        }
    }
}

/// Sampling settings that are possible, each in its range. [`SamplingParams::checked`] makes
/// them, and nothing else does. The default is greedy.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sampling(SamplingParams);

impl Sampling {
    /// The same without `top_k`, `top_p` and `min_p`.
    #[must_use]
    pub fn unfiltered(&self) -> Sampling {
        Sampling(SamplingParams {
            top_k: 0,
            top_p: 1.0,
            min_p: 0.0,
            ..self.0.clone()
        })
    }
}

impl Deref for Sampling {
    type Target = SamplingParams;

    fn deref(&self) -> &SamplingParams {
        &self.0
    }
}

/// A sampling setting that is not possible.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{name} is {value}, but must be {expected}")]
pub struct SamplingError {
    /// Name of the setting.
    pub name: &'static str,
    /// The value that was given.
    pub value: String,
    /// The values that are possible.
    pub expected: &'static str,
}

impl SamplingParams {
    /// The same settings, checked: one can sample by them.
    ///
    /// # Errors
    /// The same as those of [`SamplingParams::validate`].
    pub fn checked(self) -> Result<Sampling, SamplingError> {
        self.validate()?;
        Ok(Sampling(self))
    }

    /// Checks that every value is possible.
    ///
    /// # Errors
    /// Names the first setting that is not, and its range.
    pub fn validate(&self) -> Result<(), SamplingError> {
        let check = |name, value: f32, ok: bool, expected| {
            if ok {
                return Ok(());
            }
            Err(SamplingError {
                name,
                value: value.to_string(),
                expected,
            })
        };
        let t = self.temperature;
        check(
            "temperature",
            t,
            (0.0..=100.0).contains(&t),
            "between 0 and 100",
        )?;
        let p = self.top_p;
        check("top-p", p, p > 0.0 && p <= 1.0, "above 0 and at most 1")?;
        let m = self.min_p;
        check("min-p", m, (0.0..=1.0).contains(&m), "between 0 and 1")?;
        let r = self.repeat_penalty;
        check(
            "repeat-penalty",
            r,
            r > 0.0 && r <= 100.0,
            "above 0 and at most 100",
        )?;
        let f = self.frequency_penalty;
        check(
            "frequency-penalty",
            f,
            f.abs() <= 100.0,
            "between -100 and 100",
        )?;
        let q = self.presence_penalty;
        check(
            "presence-penalty",
            q,
            q.abs() <= 100.0,
            "between -100 and 100",
        )
    }

    /// Whether the most probable token is always taken.
    pub fn is_greedy(&self) -> bool {
        self.temperature <= 0.0
    }

    /// Whether any penalty changes logits.
    pub(super) fn has_penalties(&self) -> bool {
        self.penalty_window > 0
            && (self.repeat_penalty != 1.0
                || self.frequency_penalty != 0.0
                || self.presence_penalty != 0.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn impossible_settings_are_named_and_nothing_samples_by_them() {
        let p = SamplingParams {
            top_p: 0.0,
            ..Default::default()
        };
        let message = p.checked().map_err(|e| e.to_string());
        let expected = "top-p is 0, but must be above 0 and at most 1";
        assert_eq!(message, Err(expected.to_string()));
        let set: [fn(&mut SamplingParams, f32); 6] = [
            |p, x| p.temperature = x,
            |p, x| p.top_p = x,
            |p, x| p.min_p = x,
            |p, x| p.repeat_penalty = x,
            |p, x| p.frequency_penalty = x,
            |p, x| p.presence_penalty = x,
        ];
        for set in set {
            for odd in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 101.0, -101.0] {
                let mut p = SamplingParams::default();
                set(&mut p, odd);
                assert!(p.clone().checked().is_err(), "{p:?}");
            }
        }
        assert!(Sampling::default().is_greedy());
    }
}
