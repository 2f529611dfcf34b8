//! Filters, tests and functions that jinja2 has otherwise than minijinja.

use minijinja::value::{Kwargs, Rest, ValueKind, ValueOrKwargs, from_args};
use minijinja::{Environment, Error, State, Value, filters, functions};

use super::arguments::bind;
use super::error::raised;
use super::json::{from_json, tojson};
use super::numbers::{float, float_text};
use super::strings::{charge, lines};

/// Puts them into the environment.
pub(super) fn add(env: &mut Environment<'_>) {
    env.add_function("raise_exception", raise_exception);
    env.add_function("namespace", namespace);
    env.add_filter("tojson", tojson);
    env.add_filter("from_json", from_json);
    env.add_filter("string", string);
    env.add_filter("default", default);
    env.add_filter("d", default);
    env.add_filter("int", int);
    env.add_filter("float", to_float);
    env.add_filter("indent", indent);
    env.add_test("iterable", is_iterable);
    env.add_test("sequence", is_sequence);
    env.add_test("callable", is_callable);
}

/// Ends the rendering with the template's own words.
fn raise_exception(words: Value) -> Result<Value, Error> {
    Err(raised(words.to_string()))
}

/// A namespace of the fields of an object, and of those named.
fn namespace(rest: Rest<ValueOrKwargs>) -> Result<Value, Error> {
    let values = rest.into_values();
    let (fields, named): (Option<Value>, Kwargs) = from_args(&values)?;
    let fields = functions::dict(fields, named)?;
    functions::namespace(Some(ValueOrKwargs::from(fields)))
}

fn string(state: &State, value: &Value) -> Result<Value, Error> {
    match float(value) {
        Some(number) => Ok(Value::from(float_text(number))),
        None => filters::string(state, value),
    }
}

/// `default(default_value='', boolean=false)`.
fn default(value: Value, rest: Rest<ValueOrKwargs>) -> Result<Value, Error> {
    let [other, lax] = bind(["default_value", "boolean"], rest)?;
    let lax = lax.is_some_and(|lax| lax.is_true());
    if value.is_undefined() || (lax && !value.is_true()) {
        Ok(other.unwrap_or_else(|| Value::from("")))
    } else {
        Ok(value)
    }
}

/// `int(default=0, base=10)`: what is no number is the default.
fn int(state: &State, value: &Value, rest: Rest<ValueOrKwargs>) -> Result<Value, Error> {
    let [default, base] = bind(["default", "base"], rest)?;
    let base = base.map(u32::try_from).transpose()?;
    let default = default.unwrap_or_else(|| Value::from(0));
    filters::int(state, value, Some(default), base, no_names())
}

/// `float(default=0.0)`: what is no number is the default.
fn to_float(state: &State, value: &Value, rest: Rest<ValueOrKwargs>) -> Result<Value, Error> {
    let [default] = bind(["default"], rest)?;
    let default = default.unwrap_or_else(|| Value::from(0.0));
    filters::float(state, value, Some(default), no_names())
}

fn no_names() -> Kwargs {
    std::iter::empty::<(String, Value)>().collect()
}

/// `indent(width=4, first=false, blank=false)`: lines but the first behind spaces, or behind a
/// text; line breaks become `\n`, and the last one stays.
fn indent(state: &State, value: &Value, rest: Rest<ValueOrKwargs>) -> Result<Value, Error> {
    let [width, first, blank] = bind(["width", "first", "blank"], rest)?;
    let [first, blank] = [first, blank].map(|v| v.is_some_and(|v| v.is_true()));
    let text = format!("{value}\n");
    let lines = lines(&text);
    let width = width.unwrap_or_else(|| Value::from(4));
    let before = match width.as_str() {
        Some(before) => before.to_owned(),
        None => {
            let spaces = usize::try_from(width)?;
            charge(state, spaces)?;
            " ".repeat(spaces)
        }
    };
    charge(state, before.len().saturating_mul(lines.len()))?;
    let mut made = String::with_capacity(text.len());
    for (i, (line, _)) in lines.into_iter().enumerate() {
        let indented = if i == 0 {
            first
        } else {
            blank || !line.is_empty()
        };
        made.push_str(if i == 0 { "" } else { "\n" });
        made.push_str(if indented { &before } else { "" });
        made.push_str(line);
    }
    Ok(Value::from(made))
}

fn is_iterable(value: &Value) -> bool {
    !value.is_none() && value.try_iter().is_ok()
}

/// What has a length and places: for Python texts and objects are sequences too.
fn is_sequence(value: &Value) -> bool {
    let kinds = [ValueKind::Seq, ValueKind::Map, ValueKind::String];
    value.is_undefined() || kinds.contains(&value.kind())
}

/// Functions and macros are objects that are nothing else.
fn is_callable(value: &Value) -> bool {
    value.kind() == ValueKind::Plain
}
