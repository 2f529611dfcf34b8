//! Where a JSON value ends, as its text comes in pieces.

/// Finds the end of a JSON value. It does not check the value.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct JsonSpan {
    kind: SpanKind,
    depth: usize,
    in_string: bool,
    escaped: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq)]
enum SpanKind {
    /// Nothing but white space came.
    #[default]
    Unknown,
    /// An object, a list or a text.
    Closed,
    /// A number or a word: it ends where something else begins.
    Word,
}

impl JsonSpan {
    /// Where in this text the value ends that began before or in it; `None` if it goes on.
    pub(crate) fn end(&mut self, text: &str) -> Option<usize> {
        for (at, byte) in text.bytes().enumerate() {
            if self.in_string {
                match byte {
                    _ if self.escaped => self.escaped = false,
                    b'\\' => self.escaped = true,
                    b'"' => {
                        self.in_string = false;
                        if self.depth == 0 {
                            return Some(at + 1);
                        }
                    }
                    _ => {}
                }
                continue;
            }
            match byte {
                b',' | b'}' | b']' if self.kind == SpanKind::Word => return Some(at),
                b' ' | b'\n' | b'\r' | b'\t' if self.kind == SpanKind::Word => return Some(at),
                b'"' => {
                    self.in_string = true;
                    self.kind = SpanKind::Closed;
                }
                b'{' | b'[' => {
                    self.depth += 1;
                    self.kind = SpanKind::Closed;
                }
                b'}' | b']' if self.kind == SpanKind::Closed => {
                    self.depth = self.depth.saturating_sub(1);
                    if self.depth == 0 {
                        return Some(at + 1);
                    }
                }
                // A value that is missing.
                b',' | b'}' | b']' if self.kind == SpanKind::Unknown => return Some(at),
                b' ' | b'\n' | b'\r' | b'\t' => {}
                _ if self.kind == SpanKind::Unknown => self.kind = SpanKind::Word,
                _ => {}
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_ends_where_it_is_whole() {
        for (text, end) in [
            (r#"{"a": "} \" ]", "b": [{}]} more"#, Some(26)),
            ("[1, [2]],", Some(8)),
            ("\"a\\\"b\" ", Some(6)),
            (" 12}", Some(3)),
            ("true,", Some(4)),
            (" }", Some(1)),
            ("{\"a\": ", None),
            ("12", None),
            ("", None),
        ] {
            for cut in (0..=text.len()).filter(|&i| text.is_char_boundary(i)) {
                let mut span = JsonSpan::default();
                let (before, after) = text.split_at(cut);
                let found = span.end(before);
                let found = found.or_else(|| span.end(after).map(|at| at + cut));
                assert_eq!(found, end, "{text} {cut}");
            }
        }
    }
}
