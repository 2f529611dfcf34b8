//! What values of flags may be: parsers that say what is wrong with a value.

use std::ops::RangeInclusive;

use card_llama::{CacheType, LoraFile, TensorPlace};
use card_setup::secret::SecretText;
use card_setup::{is_template_name, template_names};
use clap::builder::{
    NonEmptyStringValueParser, PossibleValue, PossibleValuesParser, TypedValueParser,
};

/// Fewest tokens of context of a model.
pub const LEAST_CONTEXT: u32 = 64;
/// Most tokens of context of a model.
pub const MOST_CONTEXT: u32 = 1_048_576;

/// A share, like `5%` or `0.05`.
pub fn share(text: &str) -> Result<f64, String> {
    let (number, of) = match text.strip_suffix('%') {
        Some(number) => (number, 100.0),
        None => (text, 1.0),
    };
    let share: f64 = number
        .trim()
        .parse()
        .map_err(|_| "a share is like 5% or 0.05")?;
    let share = share / of;
    if (0.0..=1.0).contains(&share) {
        Ok(share)
    } else {
        Err("a share is between 0% and 100%".into())
    }
}

/// A whole number in a range. What is none is told so in these words, a number below 0 too.
fn whole(text: &str, range: &RangeInclusive<u64>) -> Result<u64, String> {
    let number = text.parse::<u64>().ok();
    number.filter(|n| range.contains(n)).ok_or_else(|| {
        let (least, most) = (range.start(), range.end());
        format!("it is a whole number from {least} to {most}")
    })
}

/// Tokens of context; 0 for all that the model was trained for, as llama-server has it.
pub fn context_length(text: &str) -> Result<u32, String> {
    let number = text.parse::<u32>().ok();
    let allowed = |n: &u32| *n == 0 || (LEAST_CONTEXT..=MOST_CONTEXT).contains(n);
    number.filter(allowed).ok_or_else(|| {
        format!(
            "it is a whole number from {LEAST_CONTEXT} to {MOST_CONTEXT}, or 0 for all that the \
             model was trained for"
        )
    })
}

/// Seconds, up to a day.
pub fn seconds(least: u64) -> impl TypedValueParser<Value = u64> {
    let range = least..=86_400;
    move |text: &str| whole(text, &range)
}

/// A number of things in memory.
pub fn sizes(range: RangeInclusive<u64>) -> impl TypedValueParser<Value = usize> {
    move |text: &str| -> Result<usize, String> {
        let number = whole(text, &range)?;
        usize::try_from(number).map_err(|_| "it is more than this machine can count".to_owned())
    }
}

/// A seed of sampling noise.
pub fn seed(text: &str) -> Result<u64, String> {
    let why = "a seed is a whole number from 0 on; the same seed gives the same text";
    text.parse().map_err(|_| why.to_owned())
}

/// Most tokens of a text; -1, as llama.cpp has it, for as many as the context holds.
pub fn most_tokens(text: &str) -> Result<u32, String> {
    if text == "-1" {
        return Ok(u32::MAX);
    }
    let why = "it is a whole number from 0 on, or -1 for no limit but the context's";
    text.parse().map_err(|_| why.to_owned())
}

/// Layers of a model, where the flag says `all`.
pub const ALL_LAYERS: u32 = u32::MAX;

/// A number of layers, or `all`, which is [`ALL_LAYERS`].
pub fn layers(text: &str) -> Result<u32, String> {
    if text == "all" {
        return Ok(ALL_LAYERS);
    }
    let number: u32 = text.parse().map_err(|_| "it is a number, or all")?;
    Ok(number.min(ALL_LAYERS - 1))
}

/// A type of the numbers in a KV cache, by llama.cpp's name.
pub fn cache_type() -> impl TypedValueParser<Value = CacheType> {
    let names = CacheType::ALL.map(CacheType::name);
    PossibleValuesParser::new(names).try_map(|name| name.parse::<CacheType>())
}

/// Tensors and the device that they are kept on, as `PATTERN=DEVICE`.
pub fn tensor_place(text: &str) -> Result<String, String> {
    TensorPlace::parse(text).map(|_| text.to_owned())
}

/// An adapter and how strongly it is applied, as `FILE:SCALE`.
pub fn scaled_adapter(text: &str) -> Result<String, String> {
    LoraFile::parse(text).map(|_| text.to_owned())
}

/// A chat template: a program in Jinja, or the name of one that llama-server has.
pub fn template(text: &str) -> Result<String, String> {
    let program = text.contains("{{") || text.contains("{%");
    // What has spaces is no name with a mistake in it.
    if program || text.contains(' ') || is_template_name(text) {
        return Ok(text.to_owned());
    }
    let names: Vec<&str> = template_names().collect();
    Err(format!(
        "it is neither a template in Jinja, which has {{{{ or {{%, nor one of these: {}; give \
         the template itself, or --chat-template-file FILE",
        names.join(", ")
    ))
}

/// An object as JSON.
pub fn json_object(text: &str) -> Result<String, String> {
    match serde_json::from_str::<serde_json::Value>(text) {
        Ok(serde_json::Value::Object(_)) => Ok(text.to_owned()),
        Ok(_) => Err("it is an object, like {\"enable_thinking\": false}".to_owned()),
        Err(error) => Err(format!("it is not JSON: {error}")),
    }
}

/// An amount: no less than nothing, and finite.
pub fn amount(text: &str) -> Result<f64, String> {
    let amount: f64 = text.trim().parse().map_err(|_| "it is no number")?;
    if amount.is_finite() && amount >= 0.0 {
        Ok(amount)
    } else {
        Err("it is a number from 0 on".into())
    }
}

/// An origin as browsers send it: `https://example.org`, without a path, a slash at the end, or
/// the port that goes without saying. One that never matches would be a silent mistake.
pub fn origin(text: &str) -> Result<String, String> {
    let text = text.trim();
    if text == "*" || text == "localhost" {
        return Ok(text.into());
    }
    let wrong = "an origin is like https://example.org or http://localhost:3000; localhost is for \
                 all of this machine, * for all there are";
    let (scheme, rest) = text.split_once("://").ok_or(wrong)?;
    let plain = |c: char| c.is_ascii_alphanumeric() || "+-.".contains(c);
    let letter = scheme.starts_with(|c: char| c.is_ascii_alphabetic());
    if !letter || !scheme.chars().all(plain) {
        return Err(wrong.into());
    }
    let scheme = scheme.to_ascii_lowercase();
    let rest = rest.strip_suffix('/').unwrap_or(rest);
    let (name, port) = match rest.rsplit_once(':') {
        Some((name, port)) if !port.ends_with(']') => (name, Some(port)),
        _ => (rest, None),
    };
    let name = host_name(name).map_err(|_| wrong)?;
    let usual = match scheme.as_str() {
        "http" => Some(80),
        "https" => Some(443),
        _ => None,
    };
    let port: Option<u16> = match port {
        Some(port) => Some(port.parse().map_err(|_| wrong)?),
        None => None,
    };
    Ok(match port.filter(|p| Some(*p) != usual) {
        Some(port) => format!("{scheme}://{name}:{port}"),
        None => format!("{scheme}://{name}"),
    })
}

/// The name of a host, without a scheme or a port, in small letters.
pub fn host_name(text: &str) -> Result<String, String> {
    let text = text.trim();
    if let Some(inner) = text.strip_prefix('[').and_then(|t| t.strip_suffix(']')) {
        let address: std::net::Ipv6Addr = inner.parse().map_err(|_| "it is no address")?;
        return Ok(format!("[{address}]"));
    }
    let name = text.strip_suffix('.').unwrap_or(text);
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    if !name.is_empty() && name.len() <= 253 && name.chars().all(plain) {
        Ok(name.to_ascii_lowercase())
    } else {
        Err("a name is like host.docker.internal, without a port".into())
    }
}

/// Reads a secret from a flag or the environment, where an empty one is an error. Messages of
/// this parser do not repeat the value.
pub fn secret() -> impl TypedValueParser<Value = SecretText> {
    NonEmptyStringValueParser::new().map(SecretText::new)
}

/// One of the values that a flag may have: its name, what `--help` says of it, and what it means.
pub type FlagValue<T> = (&'static str, &'static str, T);

/// A value as `--help` shows it.
pub fn possible_value<T>((name, help, _): &FlagValue<T>) -> PossibleValue {
    PossibleValue::new(*name).help(*help)
}

/// Reads one of a few values by its name.
pub fn one_of<T>(values: &'static [FlagValue<T>]) -> impl TypedValueParser<Value = T>
where
    T: Copy + Send + Sync + 'static,
{
    PossibleValuesParser::new(values.iter().map(possible_value)).try_map(move |name| {
        let found = values.iter().find(|value| value.0 == name);
        found.map(|value| value.2).ok_or("it is none of them")
    })
}
