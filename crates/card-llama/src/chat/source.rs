//! The source of a template, as minijinja parses it.
//!
//! minijinja takes no tags of others, and transformers has one: `{% generation %}` marks what the
//! assistant wrote, for training. It writes its body, and what its body sets ends with it. So does
//! the body of `{% with %}`, which takes its place. `%` between a text and values becomes `format`
//! ([`percent`]).

use super::percent;

/// The source with `with` for `generation` and `format` for `%`, and lines that end as jinja2 reads
/// them. Lines keep their numbers.
pub(super) fn prepared(source: &str) -> String {
    let source = source.replace("\r\n", "\n").replace('\r', "\n");
    let mut made = String::with_capacity(source.len());
    let mut rest = source.as_str();
    while let Some(at) = rest.find('{') {
        made.push_str(&rest[..at]);
        rest = &rest[at..];
        let end = match rest.as_bytes().get(1) {
            Some(b'#') => past(rest, "#}"),
            Some(b'{') => tag_end(rest, "}}"),
            Some(b'%') => tag_end(rest, "%}"),
            _ => 1,
        };
        let tag = &rest[..end];
        match statement(tag) {
            Some("generation") => made.push_str(&tag.replacen("generation", "with", 1)),
            Some("endgeneration") => made.push_str(&tag.replacen("endgeneration", "endwith", 1)),
            Some("raw") => {
                let end = raw_end(rest, end);
                made.push_str(&rest[..end]);
                rest = &rest[end..];
                continue;
            }
            _ if tag.starts_with("{{") || tag.starts_with("{%") => {
                made.push_str(&percent::rewritten(tag));
            }
            _ => made.push_str(tag),
        }
        rest = &rest[end..];
    }
    made + rest
}

/// The statement of a tag that has nothing but its name, like `{%- endif %}`.
fn statement(tag: &str) -> Option<&str> {
    let inside = tag.strip_prefix("{%")?.strip_suffix("%}")?;
    let signs = ['-', '+'];
    let inside = inside.strip_prefix(signs).unwrap_or(inside);
    let inside = inside.strip_suffix(signs).unwrap_or(inside);
    Some(inside.trim())
}

/// Where the text of `{% raw %}` ends, its last tag included; `from` is where it begins.
fn raw_end(text: &str, from: usize) -> usize {
    let mut place = from;
    while let Some(at) = text[place..].find("{%") {
        let tag = place + at..place + at + past(&text[place + at..], "%}");
        place = tag.end;
        if statement(&text[tag]) == Some("endraw") {
            return place;
        }
    }
    text.len()
}

/// Where a tag ends that a text begins with. What stands in strings, or between braces, ends none.
fn tag_end(text: &str, close: &str) -> usize {
    let (mut nested, mut quote, mut escaped) = (0usize, None, false);
    for (i, &byte) in text.as_bytes().iter().enumerate().skip(2) {
        if let Some(end) = quote {
            match byte {
                _ if escaped => escaped = false,
                b'\\' => escaped = true,
                _ if byte == end => quote = None,
                _ => {}
            }
            continue;
        }
        match byte {
            b'"' | b'\'' => quote = Some(byte),
            b'{' => nested += 1,
            b'}' if nested > 0 => nested -= 1,
            _ if text.as_bytes()[i..].starts_with(close.as_bytes()) => return i + close.len(),
            _ => {}
        }
    }
    text.len()
}

/// The place behind the first `close` of a text, or its end.
fn past(text: &str, close: &str) -> usize {
    text.find(close).map_or(text.len(), |at| at + close.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generation_becomes_with_where_it_is_a_tag() {
        for (source, expected) in [
            (
                "a\n{%- generation -%}\r\nb{% endgeneration +%}\rc",
                "a\n{%- with -%}\nb{% endwith +%}\nc",
            ),
            (
                "{%generation%}{{ x }}{%endgeneration%}",
                "{%with%}{{ x }}{%endwith%}",
            ),
        ] {
            assert_eq!(prepared(source), expected);
        }
        for kept in [
            "{# {% generation %} #}",
            "{% raw %}{% generation %}{%- endraw %}",
            "{% raw %}{% generation %}",
            "{{ '{% generation %}' }}",
            "{% if x == \"\\\"{% generation %}\" %}",
            "{{ {'a': {'b': 1}} }} {% set generation = 1 %}",
            "{% generation",
            "{{ 'a",
            "{",
            "{%",
            "{ { % é",
            "",
        ] {
            assert_eq!(prepared(kept), kept);
        }
        let behind = "{{ {'a': {}}}}{% raw %}{{{% endraw %}{% generation %}";
        assert!(prepared(behind).ends_with("{% with %}"));
    }
}
