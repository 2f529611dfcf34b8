//! Tokens to text as it streams: whole characters only, and nothing of a stop string.

/// Turns the bytes of tokens into text that can be shown.
#[derive(Clone, Debug, Default)]
pub struct TextStream {
    /// The stop strings, none of them empty.
    stops: Vec<String>,
    /// The beginning of a character whose other bytes have not come.
    bytes: Vec<u8>,
    /// Text that could be the beginning of a stop string; not shown yet.
    held: String,
    /// The number of the stop string that came.
    stopped: Option<usize>,
}

impl TextStream {
    /// A stream that ends before the first of `stops` (empty ones are ignored).
    pub fn new(stops: impl IntoIterator<Item = String>) -> Self {
        TextStream {
            stops: stops.into_iter().filter(|s| !s.is_empty()).collect(),
            ..Default::default()
        }
    }

    /// Whether a stop string came.
    pub fn stopped(&self) -> bool {
        self.stopped.is_some()
    }

    /// The stop string that came.
    pub fn stop_text(&self) -> Option<&str> {
        self.stops.get(self.stopped?).map(String::as_str)
    }

    /// Takes the bytes of one token; returns what may be shown now.
    pub fn push(&mut self, piece: &[u8]) -> String {
        if self.stopped() {
            return String::new();
        }
        self.bytes.extend_from_slice(piece);
        let whole = self.take_whole();
        self.held.push_str(&whole);
        let found = |(number, stop): (usize, &String)| Some((self.held.find(stop)?, number));
        let first = self.stops.iter().enumerate().filter_map(found).min();
        if let Some((at, number)) = first {
            self.stopped = Some(number);
            self.held.truncate(at);
            return std::mem::take(&mut self.held);
        }
        let keep = self.stops.iter().map(|s| overlap(&self.held, s)).max();
        let show = self.held.len() - keep.unwrap_or(0);
        self.held.drain(..show).collect()
    }

    /// The end: what was held back, with a broken character shown as �.
    pub fn finish(&mut self) -> String {
        if self.stopped() {
            return String::new();
        }
        let rest = String::from_utf8_lossy(&self.bytes).into_owned();
        self.bytes.clear();
        std::mem::take(&mut self.held) + &rest
    }

    /// Takes the characters that are whole; bytes that never become one are replaced.
    fn take_whole(&mut self) -> String {
        let mut text = String::new();
        let mut at = 0;
        for chunk in self.bytes.utf8_chunks() {
            text.push_str(chunk.valid());
            at += chunk.valid().len();
            let bad = chunk.invalid();
            let unfinished = at + bad.len() == self.bytes.len() && bad.len() < 4;
            let may_come = unfinished && may_continue(bad);
            if !bad.is_empty() && !may_come {
                text.push(char::REPLACEMENT_CHARACTER);
                at += bad.len();
            }
        }
        self.bytes.drain(..at);
        text
    }
}

/// Whether bytes are the beginning of a character.
fn may_continue(bytes: &[u8]) -> bool {
    std::str::from_utf8(bytes).is_err_and(|e| e.error_len().is_none())
}

/// Length of the longest end of `text` that `stop` begins with.
fn overlap(text: &str, stop: &str) -> usize {
    (1..stop.len())
        .rev()
        .find(|&n| stop.is_char_boundary(n) && text.ends_with(&stop[..n]))
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(stops: &[&str], pieces: &[&[u8]]) -> (Vec<String>, String) {
        let mut t = TextStream::new(stops.iter().map(|s| s.to_string()));
        let shown = pieces.iter().map(|p| t.push(p)).collect();
        (shown, t.finish())
    }

    #[test]
    fn shows_whole_characters_only() {
        let (shown, rest) = all(&[], &[b"a", &[0xe3, 0x81], &[0x82, b'b'], &[0xf0, 0x9f]]);
        assert_eq!(shown, ["a", "", "あb", ""]);
        assert_eq!(rest, "\u{fffd}");
        let (shown, _) = all(&[], &[&[0xff, b'x']]);
        assert_eq!(shown, ["\u{fffd}x"]);
    }

    #[test]
    fn holds_back_what_may_be_a_stop_string() {
        let (shown, rest) = all(&["END"], &[b"one E", b"N", b"Q EN", b"D more", b"x"]);
        assert_eq!(shown, ["one ", "", "ENQ ", "", ""]);
        assert_eq!(rest, "");
        let (shown, rest) = all(&["END"], &[b"one E", b"N"]);
        assert_eq!((shown[0].as_str(), rest.as_str()), ("one ", "EN"));
    }

    #[test]
    fn the_first_stop_string_counts() {
        let (shown, _) = all(&["b", "ab"], &[b"xaby"]);
        assert_eq!(shown, ["x"]);
        let mut text = TextStream::new(["b".to_owned(), "ab".to_owned()]);
        assert_eq!(text.stop_text(), None);
        text.push(b"xaby");
        assert_eq!(text.stop_text(), Some("ab"));
    }
}
