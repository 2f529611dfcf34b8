//! `'%s of %d' % (a, b)`, which jinja2 leaves to Python and minijinja does not know: in the source of
//! a template it becomes `('%s of %d'|format(a, b))`. Only a text that stands in the template itself
//! is taken for a format; between numbers `%` stays what it is.

use std::borrow::Cow;

/// Brackets within each other that are looked into.
const DEEPEST: u32 = 32;
/// Bytes of the longest value behind `%`: the source may be anybody's, and each `%` looks for the end
/// of its value.
const LONGEST: usize = 4096;

/// A tag (`{{ … }}` or `{% … %}`) with `format` for `%` behind texts. Its lines stay as they are.
pub(super) fn rewritten(tag: &str) -> Cow<'_, str> {
    rewritten_within(tag, 0)
}

fn rewritten_within(code: &str, depth: u32) -> Cow<'_, str> {
    let (mut made, mut done, mut at) = (String::new(), 0, 0);
    while let Some(found) = code[at..].find(['"', '\'']) {
        let start = at + found;
        let Some(end) = text_end(code, start) else {
            break;
        };
        at = end;
        if depth >= DEEPEST {
            continue;
        }
        if let Some((arguments, behind)) = operand(code, end) {
            let arguments = rewritten_within(arguments, depth + 1);
            let format = &code[start..end];
            let lines = |text: &str| text.matches('\n').count();
            let kept = lines(format) + lines(&arguments);
            let lost = "\n".repeat(lines(&code[start..behind]).saturating_sub(kept));
            made += &code[done..start];
            made += &format!("({format}|format({arguments}){lost})");
            (done, at) = (behind, behind);
        }
    }
    if done == 0 {
        return Cow::Borrowed(code);
    }
    Cow::Owned(made + &code[done..])
}

/// What `%` is followed by that comes at a place of the code, as arguments, and where it ends.
fn operand(code: &str, at: usize) -> Option<(&str, usize)> {
    let most = code.floor_char_boundary(at + LONGEST);
    let is_cut = most < code.len();
    let code = &code[..most];
    let rest = code[at..].trim_start().strip_prefix('%')?;
    if rest.starts_with('}') {
        return None;
    }
    let start = code.len() - rest.trim_start().len();
    let end = operand_end(code, start)?;
    if is_cut && code[end..].trim_start().is_empty() {
        // It may go on behind what is looked at.
        return None;
    }
    let whole = &code[start..end];
    // A tuple is a list of arguments; brackets around one value are none.
    let tuple = group_end(code, start) == Some(end) && whole.starts_with('(');
    let arguments = if tuple {
        let inside = whole[1..whole.len() - 1].trim_end();
        inside.strip_suffix(',').unwrap_or(inside)
    } else {
        whole
    };
    Some((arguments, end))
}

/// Where a value ends that begins at a place: a name, a number, a text or something in brackets, with
/// what belongs to it (`.name`, `[…]`, `(…)`, `|filter(…)`), with blanks between or without.
fn operand_end(code: &str, start: usize) -> Option<usize> {
    let mut at = match code.as_bytes().get(start)? {
        b'"' | b'\'' => text_end(code, start)?,
        b'(' | b'[' | b'{' => group_end(code, start)?,
        _ => word_end(code, start)?,
    };
    loop {
        let rest = code[at..].trim_start();
        let next = code.len() - rest.len();
        at = match rest.as_bytes().first() {
            Some(b'[' | b'(') => group_end(code, next)?,
            Some(b'.' | b'|') => {
                let name = rest[1..].trim_start();
                word_end(code, code.len() - name.len())?
            }
            _ => return Some(at),
        };
    }
}

/// Where a name or a number ends; `None` if there is none.
fn word_end(code: &str, start: usize) -> Option<usize> {
    let rest = &code[start..];
    let is_part = |c: char| c.is_alphanumeric() || c == '_';
    let length = rest.find(|c| !is_part(c)).unwrap_or(rest.len());
    (length > 0).then_some(start + length)
}

/// Where a text ends that begins with a quotation mark at a place.
fn text_end(code: &str, start: usize) -> Option<usize> {
    let bytes = code.as_bytes();
    let quote = *bytes.get(start)?;
    let mut at = start + 1;
    while let Some(&byte) = bytes.get(at) {
        match byte {
            b'\\' => at += 2,
            _ if byte == quote => return Some(at + 1),
            _ => at += 1,
        }
    }
    None
}

/// Where the brackets end that open at a place; `None` where one is closed by another kind. What
/// stands in texts closes none.
fn group_end(code: &str, start: usize) -> Option<usize> {
    let mut at = start;
    // What closes the brackets that are open.
    let mut open = Vec::new();
    while let Some(byte) = code.as_bytes().get(at) {
        match byte {
            b'"' | b'\'' => {
                at = text_end(code, at)?;
                continue;
            }
            b'(' => open.push(b')'),
            b'[' => open.push(b']'),
            b'{' => open.push(b'}'),
            b')' | b']' | b'}' => {
                open.pop().filter(|closing| closing == byte)?;
            }
            _ => {}
        }
        at += 1;
        if open.is_empty() {
            return Some(at);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chat::{ChatMessage, ChatTemplate};

    #[test]
    fn a_template_writes_formats_as_python_does() {
        let source = "{% set years = '%d' % 7 %}\
            {{ '%s is %s, %.1f %%' % (messages[0].content, years, 1.5) }}|{{ 7 % 4 }}";
        let template = ChatTemplate::new(source, "a test", String::new(), String::new());
        let text = template.unwrap().render(&[ChatMessage::new("user", "Ann")]);
        assert_eq!(text.unwrap(), "Ann is 7, 1.5 %|3");
    }

    #[test]
    fn a_percent_sign_behind_a_text_is_a_format() {
        for (code, expected) in [
            ("{{ '%s' % x }}", "{{ ('%s'|format(x)) }}"),
            (
                "{{ '%s'%x.y[0].z(1)|trim ~ 'a' }}",
                "{{ ('%s'|format(x.y[0].z(1)|trim)) ~ 'a' }}",
            ),
            (
                "{{ \"%s-%d\" % (a, 'b)') }}",
                "{{ (\"%s-%d\"|format(a, 'b)')) }}",
            ),
            ("{{ '%s' % (a,) }}", "{{ ('%s'|format(a)) }}"),
            ("{{ '%s' % (a).b }}", "{{ ('%s'|format((a).b)) }}"),
            (
                "{{ '%s' % ('%d' % n) }}",
                "{{ ('%s'|format(('%d'|format(n)))) }}",
            ),
            (
                "{% set x = 'it\\'s %s' %\n 'é' %}",
                "{% set x = ('it\\'s %s'|format('é')\n) %}",
            ),
            ("{{ '%s' % [1] }}{", "{{ ('%s'|format([1])) }}{"),
            ("{{ '%s' % x [0] }}", "{{ ('%s'|format(x [0])) }}"),
            (
                "{{ '%s' % x . y (1) | trim ~ 'a' }}",
                "{{ ('%s'|format(x . y (1) | trim)) ~ 'a' }}",
            ),
        ] {
            assert_eq!(rewritten(code), expected);
        }
    }

    #[test]
    fn everything_else_stays_as_it_is() {
        for code in [
            "{{ 7 % 2 }}",
            "{{ x % 'y' }}",
            "{% if x == 'a' %}",
            "{%- if x == 'a' -%}",
            "{{ '100 % of it' }}",
            "{{ 'a' + 'b' }}",
            "{{ '%s' % }}",
            "{{ '%s' % (a }}",
            "{{ '%s' % x| }}",
            "{{ 'open",
            "{{ 'end\\",
            "{{ '%s' %",
            "",
        ] {
            assert!(
                matches!(rewritten(code), Cow::Borrowed(same) if same == code),
                "{code}"
            );
        }
    }

    #[test]
    fn a_value_that_is_longer_than_what_is_looked_at_stays_as_it_is() {
        let blanks = " ".repeat(LONGEST);
        for code in [
            format!("{{{{ '%s' % {} }}}}", "x".repeat(LONGEST)),
            format!("{{{{ '%s' % x{blanks}[0] }}}}"),
            format!("{{{{ '%s' % {}.é }}}}", "é".repeat(LONGEST)),
        ] {
            assert!(matches!(rewritten(&code), Cow::Borrowed(_)), "{code}");
        }
        let fits = format!("{{{{ '%s' % x ~ '{blanks}' }}}}");
        assert!(rewritten(&fits).contains("('%s'|format(x)) ~"));
    }

    #[test]
    fn brackets_without_end_end_no_process() {
        for deep in [
            "'%s' % (".repeat(10_000),
            "(".repeat(100_000),
            "'%s' % ('a' % ".repeat(999),
        ] {
            let _ = rewritten(&deep);
        }
    }
}
