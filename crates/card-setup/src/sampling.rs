//! How a model is sampled where a request does not say: what its file recommends, and what whoever
//! runs a server says instead.

use std::str::FromStr;

use card_core::sampler::{SamplingError, SamplingParams};
use card_llama::LlamaModel;
use serde::{Deserialize, Serialize};

use crate::hub::shown;

/// Settings of sampling, as far as somebody said them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct SamplingSettings {
    /// 0 takes the most probable token.
    pub temp: Option<f32>,
    /// Only so many of the most probable tokens; 0 for all.
    pub top_k: Option<u32>,
    /// Only the most probable tokens that add up to this.
    pub top_p: Option<f32>,
    /// Only tokens at least this fraction as probable as the best.
    pub min_p: Option<f32>,
    /// Divides the logits of recent tokens.
    pub repeat_penalty: Option<f32>,
    /// Taken from a logit for each recent occurrence.
    pub frequency_penalty: Option<f32>,
    /// Taken once from the logit of a recent token.
    pub presence_penalty: Option<f32>,
    /// How many tokens are recent.
    pub repeat_last_n: Option<u32>,
    /// The seed of the noise; `None` for a new one each time.
    pub seed: Option<u64>,
}

impl SamplingSettings {
    /// What a model's file recommends in `general.sampling.*`. What is not possible is left out,
    /// with a line in the log.
    pub fn of_model(model: &LlamaModel) -> Self {
        Self::recommended(&|name| model.meta(&format!("general.sampling.{name}")))
    }

    /// What metadata says, whose values `meta` gives by the end of their names.
    fn recommended(meta: &dyn Fn(&str) -> Option<String>) -> Self {
        let mut found = SamplingSettings::default();
        // Some files have whole numbers as floats.
        let counted = |name: &str| {
            let number = number::<f64>(meta, name).filter(|n| n.is_finite());
            number.map(|n| n.round() as i64)
        };
        let mut take = |name: &str, change: &mut dyn FnMut(&mut SamplingSettings)| {
            let mut next = found;
            change(&mut next);
            match next.over(&SamplingParams::default()) {
                Ok(_) => found = next,
                Err(why) => {
                    tracing::warn!("the model's general.sampling.{name} is not used: {why}");
                }
            }
        };
        take("temp", &mut |d| d.temp = number(meta, "temp"));
        take("top_p", &mut |d| d.top_p = number(meta, "top_p"));
        take("min_p", &mut |d| d.min_p = number(meta, "min_p"));
        take("penalty_repeat", &mut |d| {
            d.repeat_penalty = number(meta, "penalty_repeat");
        });
        take("top_k", &mut |d| {
            // Below 0 means all, as 0 does.
            d.top_k = counted("top_k").map(|k| u32::try_from(k.max(0)).unwrap_or(u32::MAX));
        });
        take("penalty_last_n", &mut |d| {
            // Below 0 means the whole text.
            d.repeat_last_n =
                counted("penalty_last_n").map(|n| u32::try_from(n).unwrap_or(u32::MAX));
        });
        let others = [("xtc_probability", "XTC"), ("mirostat", "Mirostat")];
        for (name, what) in others {
            if number::<f32>(meta, name).is_some_and(|x| x > 0.0) {
                tracing::info!("the model recommends {what} sampling, which card does not have");
            }
        }
        found
    }

    /// These settings, and those of `other` that are not among them.
    pub fn or(self, other: SamplingSettings) -> Self {
        SamplingSettings {
            temp: self.temp.or(other.temp),
            top_k: self.top_k.or(other.top_k),
            top_p: self.top_p.or(other.top_p),
            min_p: self.min_p.or(other.min_p),
            repeat_penalty: self.repeat_penalty.or(other.repeat_penalty),
            frequency_penalty: self.frequency_penalty.or(other.frequency_penalty),
            presence_penalty: self.presence_penalty.or(other.presence_penalty),
            repeat_last_n: self.repeat_last_n.or(other.repeat_last_n),
            seed: self.seed.or(other.seed),
        }
    }

    /// Whether something is said of what to cut off: top-k, top-p or min-p.
    pub fn cuts_off(&self) -> bool {
        self.top_k.is_some() || self.top_p.is_some() || self.min_p.is_some()
    }

    /// `base` with these settings in it.
    ///
    /// # Errors
    /// Names the first setting that is not possible, and its range.
    pub fn over(&self, base: &SamplingParams) -> Result<SamplingParams, SamplingError> {
        let params = SamplingParams {
            temperature: self.temp.unwrap_or(base.temperature),
            top_k: self.top_k.unwrap_or(base.top_k),
            top_p: self.top_p.unwrap_or(base.top_p),
            min_p: self.min_p.unwrap_or(base.min_p),
            repeat_penalty: self.repeat_penalty.unwrap_or(base.repeat_penalty),
            frequency_penalty: self.frequency_penalty.unwrap_or(base.frequency_penalty),
            presence_penalty: self.presence_penalty.unwrap_or(base.presence_penalty),
            penalty_window: self.repeat_last_n.unwrap_or(base.penalty_window),
            generated_from: base.generated_from,
            logit_bias: base.logit_bias.clone(),
            seed: base.seed,
        };
        params.validate()?;
        Ok(params)
    }
}

/// A number of the metadata; `None` if there is none, or it is something else, with a line in the
/// log then.
fn number<T: FromStr>(meta: &dyn Fn(&str) -> Option<String>, name: &str) -> Option<T> {
    let text = meta(name)?;
    let number = text.trim().parse().ok();
    if number.is_none() {
        let text = shown(&text);
        tracing::warn!("the model's general.sampling.{name} is not used: {text:?} is no number");
    }
    number
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recommended(values: &[(&str, &str)]) -> SamplingSettings {
        SamplingSettings::recommended(&|name| {
            let found = values.iter().find(|(n, _)| *n == name);
            found.map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn what_the_file_recommends_is_taken_and_what_is_impossible_is_not() {
        assert_eq!(recommended(&[]), SamplingSettings::default());
        let found = recommended(&[
            ("temp", "0.700000"),
            ("top_k", "20"),
            ("top_p", "0.8"),
            ("min_p", "7"),
            ("penalty_repeat", "nan"),
            ("penalty_last_n", "-1"),
            ("mirostat", "2"),
        ]);
        let expected = SamplingSettings {
            temp: Some(0.7),
            top_k: Some(20),
            top_p: Some(0.8),
            repeat_last_n: Some(u32::MAX),
            ..SamplingSettings::default()
        };
        assert_eq!(found, expected);
        assert_eq!(recommended(&[("top_k", "-1")]).top_k, Some(0));
        assert_eq!(recommended(&[("top_k", "20.000000")]).top_k, Some(20));
        for wrong in ["many", "nan", "inf", "[1, 2]", ""] {
            assert_eq!(recommended(&[("top_k", wrong)]).top_k, None, "{wrong}");
        }
        let most = recommended(&[("top_k", "1e300"), ("penalty_last_n", "-1e300")]);
        assert_eq!(
            (most.top_k, most.repeat_last_n),
            (Some(u32::MAX), Some(u32::MAX))
        );
        assert!(found.cuts_off() && !recommended(&[("temp", "0.7")]).cuts_off());
    }

    #[test]
    fn what_the_server_says_comes_first_and_the_rest_is_what_was() {
        let file = recommended(&[("temp", "0.7"), ("top_k", "20")]);
        let said = SamplingSettings {
            temp: Some(0.2),
            min_p: Some(0.05),
            ..SamplingSettings::default()
        };
        let base = SamplingParams {
            temperature: 1.0,
            top_p: 0.9,
            ..SamplingParams::default()
        };
        let params = said.or(file).over(&base).unwrap();
        assert_eq!((params.temperature, params.top_k), (0.2, 20));
        assert_eq!((params.min_p, params.top_p), (0.05, 0.9));
        let wrong = SamplingSettings {
            top_p: Some(0.0),
            ..said
        };
        assert_eq!(wrong.over(&base).unwrap_err().name, "top-p");
    }
}
