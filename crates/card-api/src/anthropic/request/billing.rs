//! The line that Claude Code puts at the top of its system prompt.
//!
//! It looks like `x-anthropic-billing-header: cc_version=2.1.101.e51; cc_entrypoint=cli;
//! cch=a5145;` and is for the service that Claude Code was made for: who asks, and a check sum of
//! the request. It is no instruction for a model. The check sum is another one in every request,
//! so a prompt that began with it would have nothing in common with the one before, and no part
//! of it would be found in the prefix cache.

/// What the line begins with.
const NAME: &str = "x-anthropic-billing-header:";
/// The attribute that changes with every request.
const CHECK_SUM: &str = "cch=";

/// A text of a system prompt without the line, if it begins with it.
pub(super) fn without_billing_line(text: &str) -> &str {
    let Some(rest) = text.strip_prefix(NAME) else {
        return text;
    };
    let line = rest.lines().next().unwrap_or_default();
    // The prompt itself can stand behind the attributes, on the same line.
    let end = attributes(line).max(check_sum(line));
    if end == 0 && !line.trim().is_empty() {
        return text;
    }
    rest[end..].trim_start()
}

/// Where the attributes end that a line begins with: `name=value;` one after the other. The last
/// one may do without its semicolon at the end of the line.
fn attributes(line: &str) -> usize {
    let mut end = 0;
    loop {
        let rest = &line[end..];
        let attribute = rest.trim_start_matches(' ');
        let blank = rest.len() - attribute.len();
        let name = attribute.bytes().take_while(|&b| is_word(b)).count();
        if name == 0 || attribute.as_bytes().get(name) != Some(&b'=') {
            return end;
        }
        let value = &attribute[name + 1..];
        let Some(length) = value_length(value) else {
            return end;
        };
        end += blank + name + 1 + length;
    }
}

/// The length of a value with its semicolon; `None` if it does not end as one.
fn value_length(value: &str) -> Option<usize> {
    match value.find([';', ' ', '\t']) {
        Some(at) if value.as_bytes()[at] == b';' => Some(at + 1),
        Some(_) => None,
        None => Some(value.len()),
    }
}

/// Where the check sum ends, whatever stands before it; 0 if there is none.
fn check_sum(line: &str) -> usize {
    let Some(at) = line.find(CHECK_SUM) else {
        return 0;
    };
    let value = at + CHECK_SUM.len();
    let digits = line[value..].bytes().take_while(|&b| is_word(b)).count();
    let end = value + digits;
    end + usize::from(line[end..].starts_with(';'))
}

/// Whether a name can have this byte.
fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-'
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_goes_and_the_prompt_stays() {
        let cases = [
            (
                "x-anthropic-billing-header: cc_version=2.1.101.e51; cc_entrypoint=cli; cch=a5145;",
                "",
            ),
            (
                "x-anthropic-billing-header: cc_version=2.1.101.e51; cc_entrypoint=cli; \
                 cch=a5145;You are Claude Code.",
                "You are Claude Code.",
            ),
            (
                "x-anthropic-billing-header: cc_version=2; cch=fa690;\nYou are = good; at it.",
                "You are = good; at it.",
            ),
            ("x-anthropic-billing-header: cch=fa690\n\nHello", "Hello"),
            ("x-anthropic-billing-header: … cch=fa690;", ""),
            ("x-anthropic-billing-header: a=b; Be brief.", "Be brief."),
            ("x-anthropic-billing-header:", ""),
            (
                "x-anthropic-billing-header: what is it?",
                "x-anthropic-billing-header: what is it?",
            ),
            ("You are helpful.", "You are helpful."),
            (
                "Say x-anthropic-billing-header: cch=1;",
                "Say x-anthropic-billing-header: cch=1;",
            ),
            ("", ""),
        ];
        for (text, left) in cases {
            assert_eq!(without_billing_line(text), left, "{text}");
        }
    }

    #[test]
    fn no_text_breaks_it() {
        for text in [
            "x-anthropic-billing-header: é=ü; cch=é",
            "x-anthropic-billing-header: cch=",
            "x-anthropic-billing-header: a=é b",
            "x-anthropic-billing-header: =;=;",
        ] {
            assert!(without_billing_line(text).len() <= text.len());
        }
    }
}
