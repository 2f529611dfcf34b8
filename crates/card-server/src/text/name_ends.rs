//! Pieces of control tokens' names at the ends of what users type. Side by side in a prompt, two
//! texts, or a text and what the template writes around it (`'<' + key + '>'`), could make a name
//! that none of them has.

use std::collections::HashSet;
use std::ops::Range;

/// Bytes of the shortest piece. A `<` at the end of a text is no more than that, and whatever could
/// make a name of it begins with a piece.
const SHORTEST: usize = 2;
/// Bytes of the longest name whose pieces are looked for.
const LONGEST_NAME: usize = 64;
/// Names whose pieces are looked for. A model has some hundreds, of which most are alike.
const MOST_NAMES: usize = 1 << 14;

/// Pieces of names.
#[derive(Default)]
pub(super) struct NameEnds {
    /// Beginnings of names, without the names.
    starts: HashSet<String>,
    /// Ends of names, without the names.
    ends: HashSet<String>,
    /// The names without their first and their last character, one behind the other.
    middles: String,
    /// What stands between the signs of the names (`im_end` of `<|im_end|>`), in small letters.
    words: HashSet<String>,
    /// Bytes of the longest name.
    longest: usize,
}

impl NameEnds {
    pub(super) fn new(names: &[String]) -> Self {
        let mut pieces = NameEnds::default();
        let short = names.iter().filter(|name| name.len() <= LONGEST_NAME);
        for name in short.take(MOST_NAMES) {
            pieces.longest = pieces.longest.max(name.len());
            for (at, _) in name.char_indices().skip(1) {
                let (start, end) = name.split_at(at);
                if start.len() >= SHORTEST {
                    pieces.starts.insert(start.to_owned());
                }
                if end.len() >= SHORTEST {
                    pieces.ends.insert(end.to_owned());
                }
            }
            let word = name.trim_matches(is_sign).to_lowercase();
            if !word.is_empty() {
                pieces.words.insert(word);
            }
            let mut middle = name.chars();
            let _ = (middle.next(), middle.next_back());
            pieces.middles += middle.as_str();
            pieces.middles.push('\0');
        }
        pieces
    }

    /// Where a text has pieces of names at its ends; white space around it is left out, since
    /// templates take it off. The places do not overlap.
    pub(super) fn in_text(&self, text: &str) -> Vec<Range<usize>> {
        let inner = text.trim();
        if inner.len() < SHORTEST {
            return Vec::new();
        }
        let start = text.len() - text.trim_start().len();
        let end = start + inner.len();
        if self.is_middle(inner) {
            return std::iter::once(start..end).collect();
        }
        let mut lengths = (SHORTEST..=self.longest.min(inner.len())).rev();
        let head = lengths.clone().find(|&n| {
            let piece = inner.get(..n);
            piece.is_some_and(|piece| self.ends.contains(piece))
        });
        let tail = lengths.find(|&n| {
            let piece = inner.get(inner.len() - n..);
            piece.is_some_and(|piece| self.starts.contains(piece))
        });
        let head = head.map_or(start..start, |n| start..start + n);
        let tail = tail.map_or(end..end, |n| end - n..end);
        let tail = tail.start.max(head.end)..tail.end;
        let found = [head, tail].into_iter();
        found.filter(|piece| !piece.is_empty()).collect()
    }

    /// Whether a whole text stands within a name. Words alone do not count: roles are such words.
    fn is_middle(&self, text: &str) -> bool {
        text.len() < self.longest
            && (text.starts_with(is_sign) || text.ends_with(is_sign))
            && self.middles.contains(text)
    }

    /// Whether a whole text is what stands between the signs of a name, in whichever letters.
    pub(super) fn is_word(&self, text: &str) -> bool {
        let text = text.trim();
        text.len() <= LONGEST_NAME && self.words.contains(&text.to_lowercase())
    }
}

/// Whether a character is none of a word.
fn is_sign(c: char) -> bool {
    !c.is_alphanumeric()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The pieces of a text, with commas between them.
    fn pieces(names: &[&str], text: &str) -> String {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let places = NameEnds::new(&names).in_text(text).into_iter();
        let pieces: Vec<&str> = places.map(|place| &text[place]).collect();
        pieces.join(",")
    }

    #[test]
    fn pieces_are_found_at_the_ends_of_texts_and_nowhere_else() {
        let names = ["<|im_end|>", "<|user|>", "<｜User｜>", "</s>"];
        for (text, found) in [
            ("hello <|im_", "<|im_"),
            ("end|> world", "end|>"),
            (" |> both <| \n", "|>,<|"),
            ("|im_end|", "|im_end|"),
            (" |user| ", "|user|"),
            ("a <｜Us", "<｜Us"),
            ("er｜>", "er｜>"),
            ("<|im_end|", "<|im_end|"),
            ("a <", ""),
            ("> quoted", ""),
            ("user", ""),
            ("im_end", ""),
            ("a <|im_ b", ""),
            ("<|im_xyz|>", ""),
            ("  ", ""),
            ("", ""),
        ] {
            assert_eq!(pieces(&names, text), found, "{text:?}");
        }
        assert_eq!(pieces(&[], "<|im_"), "");
    }

    #[test]
    fn words_of_names_are_known_without_their_signs() {
        let names = ["<|im_end|>", "<｜User｜>", "</s>", "<|>"].map(str::to_owned);
        let pieces = NameEnds::new(&names);
        for word in ["im_end", " IM_end\n", "user", "User", "s"] {
            assert!(pieces.is_word(word), "{word:?}");
        }
        for other in ["", "end", "im", "<|im_end|>", "x", &"s".repeat(99)] {
            assert!(!pieces.is_word(other), "{other:?}");
        }
    }

    #[test]
    fn places_do_not_overlap() {
        assert_eq!(pieces(&["aab", "baa"], "aa"), "aa");
        assert_eq!(pieces(&["qabc", "bcdz"], "abcd"), "abc,d");
    }

    #[test]
    fn what_a_file_says_is_bounded() {
        let long = "<".repeat(LONGEST_NAME + 1);
        assert!(NameEnds::new(&[long]).starts.is_empty());
        let many: Vec<String> = (0..MOST_NAMES + 9).map(|i| format!("<{i}>")).collect();
        let pieces = NameEnds::new(&many);
        assert!(pieces.starts.len() <= 8 * MOST_NAMES);
    }
}
