//! Methods of Python's texts that minijinja's own list of them (`pycompat`) lacks, or has
//! otherwise.

use minijinja::value::{Tuple, ValueKind};
use minijinja::{Error, ErrorKind, State, Value};
use minijinja_contrib::pycompat;

use super::arguments::bind_values;

/// The method `name` of a value.
///
/// # Errors
/// If there is no such method, or it does not take these arguments.
pub(super) fn method(
    state: &mut State,
    value: &Value,
    name: &str,
    arguments: &[Value],
) -> Result<Value, Error> {
    if value.kind() == ValueKind::String
        && let Some(text) = value.as_str()
        && let Some(result) = of_text(state, text, name, arguments)
    {
        return result;
    }
    pycompat::unknown_method_callback(state, value, name, arguments)
}

/// A method of a text; none if it is not one of those here.
fn of_text(
    state: &State,
    text: &str,
    name: &str,
    arguments: &[Value],
) -> Option<Result<Value, Error>> {
    Some(match name {
        "rsplit" => rsplit(text, arguments),
        "splitlines" => splitlines(text, arguments),
        "partition" => partition(text, arguments, |text, by| text.split_once(by), false),
        "rpartition" => partition(text, arguments, |text, by| text.rsplit_once(by), true),
        "removeprefix" => affix(arguments, "prefix").map(|p| {
            let rest = text.strip_prefix(p.as_str());
            Value::from(rest.unwrap_or(text))
        }),
        "removesuffix" => affix(arguments, "suffix").map(|s| {
            let rest = text.strip_suffix(s.as_str());
            Value::from(rest.unwrap_or(text))
        }),
        "index" => affix(arguments, "sub").and_then(|sub| index(text.find(&sub), text)),
        "rindex" => affix(arguments, "sub").and_then(|sub| index(text.rfind(&sub), text)),
        "startswith" | "endswith" if arguments.len() > 1 => within(text, name, arguments),
        "title" => none(arguments).map(|()| Value::from(title(text))),
        "swapcase" => none(arguments).map(|()| Value::from(swapcase(text))),
        "casefold" => none(arguments).map(|()| Value::from(text.to_lowercase())),
        "isdecimal" => none(arguments).map(|()| Value::from(is_decimal(text))),
        "ljust" => justify(state, text, arguments, |_, _| 0),
        "rjust" => justify(state, text, arguments, |missing, _| missing),
        "center" => justify(state, text, arguments, center),
        "zfill" => zfill(state, text, arguments),
        _ => return None,
    })
}

fn wrong(why: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidOperation, why.into())
}

/// No arguments.
fn none(arguments: &[Value]) -> Result<(), Error> {
    bind_values([], arguments).map(|[]| ())
}

/// The one argument of a method, which is a text.
fn affix(arguments: &[Value], name: &str) -> Result<String, Error> {
    let [affix] = bind_values([name], arguments)?;
    text_of(affix.as_ref())
}

fn text_of(value: Option<&Value>) -> Result<String, Error> {
    let text = value.and_then(Value::as_str).map(str::to_owned);
    text.ok_or_else(|| wrong("a text is missing among the arguments"))
}

/// The place of a text in another, in characters.
fn index(at: Option<usize>, text: &str) -> Result<Value, Error> {
    let at = at.ok_or_else(|| wrong("substring not found"))?;
    Ok(Value::from(text[..at].chars().count()))
}

/// At most so many splits; `None` for all.
fn most_splits(value: Option<Value>) -> Result<Option<usize>, Error> {
    let Some(value) = value.filter(|v| !v.is_none()) else {
        return Ok(None);
    };
    let most = value
        .as_i64()
        .ok_or_else(|| wrong("maxsplit is a number"))?;
    Ok(usize::try_from(most).ok())
}

fn rsplit(text: &str, arguments: &[Value]) -> Result<Value, Error> {
    let [by, most] = bind_values(["sep", "maxsplit"], arguments)?;
    let most = most_splits(most)?.unwrap_or(usize::MAX);
    let mut parts: Vec<&str> = match by.as_ref().filter(|v| !v.is_none()) {
        None => rsplit_spaces(text, most),
        Some(by) => {
            let by = by.as_str().filter(|by| !by.is_empty());
            let by = by.ok_or_else(|| wrong("empty separator"))?;
            text.rsplitn(most.saturating_add(1), by).collect()
        }
    };
    parts.reverse();
    Ok(parts.into_iter().map(Value::from).collect())
}

/// The words of a text from behind; the last is what is left after so many splits.
fn rsplit_spaces(text: &str, most: usize) -> Vec<&str> {
    let mut parts = Vec::new();
    let mut rest = text.trim_end();
    while parts.len() < most
        && let Some((at, space)) = rest.char_indices().rfind(|(_, c)| c.is_whitespace())
    {
        parts.push(&rest[at + space.len_utf8()..]);
        rest = rest[..at].trim_end();
    }
    if !rest.is_empty() {
        parts.push(rest);
    }
    parts
}

/// Characters that end a line for Python.
const LINE_ENDS: [char; 10] = [
    '\n', '\r', '\u{b}', '\u{c}', '\u{1c}', '\u{1d}', '\u{1e}', '\u{85}', '\u{2028}', '\u{2029}',
];

/// The lines of a text, each with the character or the two that end it.
pub(super) fn lines(text: &str) -> Vec<(&str, &str)> {
    let mut all = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find(LINE_ENDS) {
        let end = match &rest[at..] {
            ending if ending.starts_with("\r\n") => 2,
            ending => ending.chars().next().map_or(1, char::len_utf8),
        };
        all.push((&rest[..at], &rest[at..at + end]));
        rest = &rest[at + end..];
    }
    if !rest.is_empty() {
        all.push((rest, ""));
    }
    all
}

fn splitlines(text: &str, arguments: &[Value]) -> Result<Value, Error> {
    let [keep] = bind_values(["keepends"], arguments)?;
    let keep = keep.is_some_and(|k| k.is_true());
    let all = lines(text).into_iter();
    let all = all.map(|(line, end)| {
        if keep {
            format!("{line}{end}")
        } else {
            line.to_owned()
        }
    });
    Ok(all.map(Value::from).collect())
}

/// What is before a text, the text, and what is behind; where it is not found, all of it is
/// before, or behind if `last`.
fn partition(
    text: &str,
    arguments: &[Value],
    split: for<'a> fn(&'a str, &str) -> Option<(&'a str, &'a str)>,
    last: bool,
) -> Result<Value, Error> {
    let by = affix(arguments, "sep")?;
    if by.is_empty() {
        return Err(wrong("empty separator"));
    }
    let parts = match split(text, &by) {
        Some((before, behind)) => [before, by.as_str(), behind],
        None if last => ["", "", text],
        None => [text, "", ""],
    };
    let parts = parts.into_iter().map(Value::from);
    Ok(Value::from(Tuple::new(parts.collect())))
}

/// `startswith` and `endswith` for a part of a text.
fn within(text: &str, name: &str, arguments: &[Value]) -> Result<Value, Error> {
    let [affixes, start, end] = bind_values(["prefix", "start", "end"], arguments)?;
    let length = text.chars().count();
    let place = |value: Option<Value>, default: usize| {
        let Some(value) = value.filter(|v| !v.is_none()) else {
            return Ok(default);
        };
        let place = value.as_i64().ok_or_else(|| wrong("a place is a number"))?;
        let places = usize::try_from(place.unsigned_abs()).unwrap_or(usize::MAX);
        let from_end = length.saturating_sub(places);
        Ok::<_, Error>(if place < 0 { from_end } else { places })
    };
    let (start, end) = (place(start, 0)?, place(end, length)?.min(length));
    if start > end {
        return Ok(Value::from(false));
    }
    let part: String = text.chars().skip(start).take(end - start).collect();
    let affixes = affixes.unwrap_or_default();
    let affixes: Vec<Value> = if affixes.as_str().is_some() {
        vec![affixes]
    } else {
        affixes.try_iter()?.checked().collect::<Result<_, _>>()?
    };
    let mut found = false;
    for affix in &affixes {
        let affix = text_of(Some(affix))?;
        found |= if name == "startswith" {
            part.starts_with(&affix)
        } else {
            part.ends_with(&affix)
        };
    }
    Ok(Value::from(found))
}

/// Each letter behind what is no letter becomes a capital, as Python does it: `It'S`.
fn title(text: &str) -> String {
    let (mut made, mut inside) = (String::with_capacity(text.len()), false);
    for c in text.chars() {
        if inside {
            made.extend(c.to_lowercase());
        } else {
            made.extend(c.to_uppercase());
        }
        inside = c.is_alphabetic();
    }
    made
}

fn swapcase(text: &str) -> String {
    let mut made = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_uppercase() {
            made.extend(c.to_lowercase());
        } else {
            made.extend(c.to_uppercase());
        }
    }
    made
}

fn is_decimal(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_ascii_digit())
}

/// Where Python puts the odd one of the characters that fill a text up on both sides.
fn center(missing: usize, width: usize) -> usize {
    missing / 2 + (missing & width & 1)
}

/// A text filled up to a width; `before` says how many of the missing characters come before it.
fn justify(
    state: &State,
    text: &str,
    arguments: &[Value],
    before: fn(usize, usize) -> usize,
) -> Result<Value, Error> {
    let [width, fill] = bind_values(["width", "fillchar"], arguments)?;
    let width = width_of(width)?;
    let fill = match fill {
        Some(fill) => text_of(Some(&fill))?,
        None => " ".to_owned(),
    };
    if fill.chars().count() != 1 {
        return Err(wrong(
            "the fill character must be exactly one character long",
        ));
    }
    let missing = width.saturating_sub(text.chars().count());
    charge(state, missing.saturating_mul(fill.len()))?;
    let left = before(missing, width).min(missing);
    let (left, right) = (fill.repeat(left), fill.repeat(missing - left));
    Ok(Value::from(format!("{left}{text}{right}")))
}

fn zfill(state: &State, text: &str, arguments: &[Value]) -> Result<Value, Error> {
    let [width] = bind_values(["width"], arguments)?;
    let missing = width_of(width)?.saturating_sub(text.chars().count());
    charge(state, missing)?;
    let sign = text.len() - text.trim_start_matches(['+', '-']).len();
    let (sign, digits) = text.split_at(sign.min(1));
    Ok(Value::from(format!(
        "{sign}{}{digits}",
        "0".repeat(missing)
    )))
}

fn width_of(width: Option<Value>) -> Result<usize, Error> {
    let width = width.and_then(|w| w.as_i64());
    let width = width.ok_or_else(|| wrong("a width is a number"))?;
    Ok(usize::try_from(width).unwrap_or(0))
}

/// Pays for bytes before they are there: minijinja counts what a method gives, but afterwards.
pub(super) fn charge(state: &State, bytes: usize) -> Result<(), Error> {
    state.consume_fuel((bytes / 64) as u64)
}
