//! `samplers`: which samplers apply.
//!
//! llama-server applies them in the order in which they are listed. Here the order is fixed:
//! penalties and biases, min-p, top-k, then temperature, and top-p by the probabilities after
//! it. So the list may leave samplers out, and may have them in llama-server's own order; what
//! asks for another order is refused.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Error, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

use crate::error::ApiError;
use crate::reading::bounded::{Name, room};

/// Most samplers of a list.
const MOST: usize = 32;

/// Samplers that are done, in llama-server's order.
const DONE: [&str; 5] = ["penalties", "top_k", "top_p", "min_p", "temperature"];
/// Samplers that are not done, and off where nothing turns them on.
const OFF: [&str; 6] = [
    "dry",
    "top_n_sigma",
    "typ_p",
    "typical_p",
    "xtc",
    "adaptive_p",
];
/// The letters for samplers.
const LETTERS: [(char, &str); 10] = [
    ('e', "penalties"),
    ('d', "dry"),
    ('s', "top_n_sigma"),
    ('k', "top_k"),
    ('y', "typ_p"),
    ('p', "top_p"),
    ('m', "min_p"),
    ('x', "xtc"),
    ('t', "temperature"),
    ('i', INFILL),
];
/// The sampler of infills. It merges tokens that begin alike and may end a text sooner; here an
/// infill is sampled without it.
const INFILL: &str = "infill";

/// The list as it came.
pub(crate) struct SamplerNames(Vec<String>);

impl<'de> Deserialize<'de> for SamplerNames {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NamesOrLetters)
    }
}

impl JsonSchema for SamplerNames {
    fn schema_name() -> Cow<'static, str> {
        "Samplers".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "The samplers that apply, in llama-server's own order: names, or one \
                            text of letters.",
            "anyOf": [
                { "type": "array", "items": { "type": "string" }, "maxItems": MOST },
                { "type": "string" },
            ],
        })
    }
}

struct NamesOrLetters;

impl<'de> Visitor<'de> for NamesOrLetters {
    type Value = SamplerNames;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of names of samplers, or a text of their letters")
    }

    fn visit_str<E: Error>(self, letters: &str) -> Result<SamplerNames, E> {
        let mut names = Vec::new();
        for letter in letters.chars() {
            room::<E>(names.len(), MOST)?;
            let known = LETTERS.iter().find(|(known, _)| *known == letter);
            let why = || E::custom(format_args!("{letter:?} is no sampler"));
            names.push(known.ok_or_else(why)?.1.to_owned());
        }
        Ok(SamplerNames(names))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<SamplerNames, A::Error> {
        let mut names = Vec::new();
        while let Some(name) = seq.next_element::<Name>()? {
            room::<A::Error>(names.len(), MOST)?;
            names.push(name.0);
        }
        Ok(SamplerNames(names))
    }
}

/// The samplers of a request that are done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Samplers([bool; DONE.len()]);

impl Default for Samplers {
    fn default() -> Self {
        Samplers([true; DONE.len()])
    }
}

impl Samplers {
    /// Those that a list names. `infill` says whether it is for an infill.
    ///
    /// # Errors
    /// If it has a sampler that is not done, or another order.
    pub(super) fn checked(names: &SamplerNames, infill: bool) -> Result<Self, ApiError> {
        let (mut applied, mut least) = ([false; DONE.len()], 0);
        for name in &names.0 {
            let off = OFF.contains(&name.as_str()) || (infill && name == INFILL);
            let Some(at) = DONE.iter().position(|done| done == name) else {
                if off {
                    continue;
                }
                let why = format!("the sampler {name:?} is not supported; leave it out");
                return Err(ApiError::field("samplers", why));
            };
            if at < least {
                let order = DONE.join(", ");
                let why = format!("samplers apply in this order only: {order}");
                return Err(ApiError::field("samplers", why));
            }
            least = at;
            applied[at] = true;
        }
        Ok(Samplers(applied))
    }

    /// Whether the sampler of this name applies.
    pub(super) fn has(self, name: &str) -> bool {
        let at = DONE.iter().position(|done| *done == name);
        at.is_some_and(|at| self.0[at])
    }

    /// The names of those that apply.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        let pairs = DONE.into_iter().zip(self.0);
        pairs.filter_map(|(name, applied)| applied.then_some(name))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn checked(text: &str, infill: bool) -> Result<Vec<&'static str>, ApiError> {
        let names: SamplerNames = serde_json::from_str(text).unwrap();
        Samplers::checked(&names, infill).map(|s| s.names().collect())
    }

    #[test]
    fn samplers_can_be_left_out_and_not_be_turned_round() {
        let all = r#"["penalties","dry","top_n_sigma","top_k","typ_p","top_p","min_p","xtc",
            "temperature"]"#;
        assert_eq!(checked(all, false).unwrap(), DONE);
        assert_eq!(checked("\"edskypmxt\"", false).unwrap(), DONE);
        assert_eq!(checked(r#"["top_k"]"#, false).unwrap(), ["top_k"]);
        let vim = r#"["top_k","top_p","infill"]"#;
        assert_eq!(checked(vim, true).unwrap(), ["top_k", "top_p"]);
        for (list, infill) in [
            (vim, false),
            (r#"["temperature","top_k"]"#, false),
            (r#"["x"]"#, true),
        ] {
            let error = checked(list, infill).unwrap_err();
            assert_eq!(error.param(), Some("samplers"), "{list}");
        }
        assert!(serde_json::from_str::<SamplerNames>("\"z\"").is_err());
    }
}
