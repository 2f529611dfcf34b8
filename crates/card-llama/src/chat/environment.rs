//! minijinja with the settings that chat templates are written for.
//!
//! They are those of transformers' `apply_chat_template`: blocks trimmed and stripped, loop
//! controls (`break`, `continue`), Python's methods of texts, lists and objects, its `repr` of
//! values and its json, `raise_exception`, `strftime_now`, `{% generation %}`.
//!
//! What minijinja has not, and no template of llama.cpp's `models/templates` needs: `%` between a
//! text in a variable and values, `varargs` and `kwargs` in macros, a default of a macro's parameter
//! that names another one. Nothing is escaped for HTML, neither where a template says `safe`: in Python a
//! text marked so escapes what is added to it, which no model was trained with.

use minijinja::syntax::SyntaxConfig;
use minijinja::{AutoEscape, Environment, Error, Output, State, Value, escape_formatter};

use super::numbers::{float, float_text};
use super::{filters, strings};

/// Steps of a template, in minijinja's units: an instruction is one, and so are 64 bytes that
/// are made or looked at. A conversation of 4 MB takes half of it; a template that would take
/// for ever, or 64 MB, ends here within a second.
const FUEL: u64 = 1_000_000;

/// An environment without templates.
///
/// # Errors
/// If minijinja refuses the settings, which would be a bug.
pub(super) fn environment() -> Result<Environment<'static>, Error> {
    let mut env = Environment::new();
    // Templates come with files from anywhere, and messages from clients.
    env.set_fuel(Some(FUEL));
    env.set_auto_escape_callback(|_| AutoEscape::None);
    env.set_formatter(write_value);
    env.set_unknown_method_callback(strings::method);
    let syntax = SyntaxConfig::builder()
        .trim_blocks(true)
        .lstrip_blocks(true)
        .build()?;
    env.set_syntax(syntax);
    // The rest of jinja2's filters and functions, then those that differ from minijinja's.
    minijinja_contrib::add_to_environment(&mut env);
    filters::add(&mut env);
    Ok(env)
}

/// Writes a value as Python's `str` does.
fn write_value(out: &mut Output, state: &mut State, value: &Value) -> Result<(), Error> {
    match float(value) {
        Some(number) => out.write_str(&float_text(number)).map_err(Error::from),
        None => escape_formatter(out, state, value),
    }
}
