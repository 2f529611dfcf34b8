//! What a chat template puts in place of something that users type, as in
//! `content.replace('/no_think', '')`. That can make the name of a control token of a text that has
//! none: `<|im_/no_thinkend|>`.

use std::ops::Range;

/// Replacements of a template that are looked at. Templates have two or three.
const MOST: usize = 16;
/// Bytes of the longest text in a replacement that is looked at.
const LONGEST: usize = 256;
/// Bytes that may stand in place of fewer: what a text becomes is at most so many times as long.
const MOST_GROWTH: usize = 8;

/// A text, and what a template puts in its place.
#[derive(PartialEq)]
struct Replacement {
    what: String,
    by: String,
}

/// The replacements of a template, as far as they are written in it.
#[derive(Default)]
pub(super) struct Replacements(Vec<Replacement>);

impl Replacements {
    /// Those of the template with this source, in its order.
    pub(super) fn of_template(source: &str) -> Self {
        let mut all: Vec<Replacement> = Vec::new();
        for (at, word) in source.match_indices("replace") {
            if let Some(found) = replacement(&source[at + word.len()..])
                && all.len() < MOST
                && !all.contains(&found)
            {
                all.push(found);
            }
        }
        Replacements(all)
    }

    /// What the template may make of a text: by each replacement alone, and by all that make no
    /// text longer one after the other, in the order of the template and in the opposite one.
    pub(super) fn versions(&self, text: &str) -> impl Iterator<Item = Version> {
        let mut orders: Vec<Vec<&Replacement>> = self.0.iter().map(|one| vec![one]).collect();
        let grows = |one: &&Replacement| one.by.len() > one.what.len();
        let together: Vec<&Replacement> = self.0.iter().filter(|one| !grows(one)).collect();
        if together.len() > 1 {
            orders.push(together.iter().rev().copied().collect());
            orders.push(together);
        }
        orders
            .into_iter()
            .filter_map(move |order| Version::of(text, &order))
    }
}

/// The replacement whose two texts stand in brackets at the beginning of this code; `None` if they
/// do not stand in the code itself.
fn replacement(code: &str) -> Option<Replacement> {
    let (what, rest) = literal(code.trim_start().strip_prefix('(')?)?;
    let (by, _) = literal(rest.trim_start().strip_prefix(',')?)?;
    let fits = !what.is_empty() && by.len() <= what.len().max(MOST_GROWTH);
    fits.then_some(Replacement { what, by })
}

/// A text in quotation marks at the beginning of this code, and what stands behind it.
fn literal(code: &str) -> Option<(String, &str)> {
    let code = code.trim_start();
    let mut chars = code.char_indices();
    let (_, quote) = chars.next()?;
    if !matches!(quote, '"' | '\'') {
        return None;
    }
    let mut text = String::new();
    while let Some((at, c)) = chars.next() {
        if c == quote {
            return Some((text, &code[at + 1..]));
        }
        if text.len() >= LONGEST {
            return None;
        }
        text.push(match c {
            '\\' => match chars.next()?.1 {
                'n' => '\n',
                't' => '\t',
                'r' => '\r',
                'u' | 'x' => return None,
                itself => itself,
            },
            c => c,
        });
    }
    None
}

/// A part of a text that is also in a version of it.
struct Kept {
    /// Where it begins in the version.
    at: usize,
    /// Where it begins in the text.
    from: usize,
    /// Its bytes.
    length: usize,
}

impl Kept {
    /// Where it ends in the version.
    fn end(&self) -> usize {
        self.at + self.length
    }
}

/// A text after replacements.
pub(super) struct Version {
    text: String,
    /// What is left of the text before, in order.
    kept: Vec<Kept>,
}

impl Version {
    /// The version that these replacements make of a text, one after the other; `None` if they find
    /// nothing in it.
    fn of(text: &str, order: &[&Replacement]) -> Option<Self> {
        if !order.iter().any(|one| text.contains(&one.what)) {
            return None;
        }
        let whole = Kept {
            at: 0,
            from: 0,
            length: text.len(),
        };
        let mut version = Version {
            text: text.to_owned(),
            kept: vec![whole],
        };
        for one in order {
            version = version.replaced(one);
        }
        Some(version)
    }

    fn replaced(&self, one: &Replacement) -> Self {
        let mut next = Version {
            text: String::with_capacity(self.text.len()),
            kept: Vec::new(),
        };
        let mut done = 0;
        for (at, what) in self.text.match_indices(&one.what) {
            next.keep(self, done..at);
            next.text += &one.by;
            done = at + what.len();
        }
        next.keep(self, done..self.text.len());
        next
    }

    /// Adds what stands at a place of the version before.
    fn keep(&mut self, before: &Version, place: Range<usize>) {
        let moved = self.text.len();
        for part in before.parts(&place) {
            self.kept.push(Kept {
                at: moved + (part.at - place.start),
                ..part
            });
        }
        self.text += &before.text[place];
    }

    /// What is of the text before at a place of the version.
    fn parts(&self, place: &Range<usize>) -> impl Iterator<Item = Kept> {
        let (start, end) = (place.start, place.end);
        let first = self.kept.partition_point(|kept| kept.end() <= start);
        let touched = self.kept[first..].iter();
        touched
            .take_while(move |kept| kept.at < end)
            .map(move |kept| {
                let at = kept.at.max(start);
                Kept {
                    at,
                    from: kept.from + (at - kept.at),
                    length: kept.end().min(end) - at,
                }
            })
    }

    /// The version itself.
    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// The first part of what stands at a place of the version, by where it is in the text before;
    /// `None` if the template writes all that is there.
    pub(super) fn first_part(&self, place: &Range<usize>) -> Option<Range<usize>> {
        let part = self.parts(place).next()?;
        Some(part.from..part.from + part.length)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn replacements_are_read_in_a_template() {
        let source = "{{ a.replace('/think', '').replace(\"/no_think\",\"\") }}\
            {{ a|replace ( 'it\\'s\\n' , '_' ) }}{{ a.replace('/think', '') }}\
            {{ a.replace(b, '') + a.replace('c', b) + a.replace('', 'x') + a.replace('d }}";
        let read = Replacements::of_template(source);
        let pairs: Vec<(&str, &str)> = read
            .0
            .iter()
            .map(|one| (one.what.as_str(), one.by.as_str()))
            .collect();
        assert_eq!(pairs, [("/think", ""), ("/no_think", ""), ("it's\n", "_")]);
        // A template may be anybody's.
        let many: String = (0..99).map(|n| format!("replace('{n}', '')")).collect();
        assert_eq!(Replacements::of_template(&many).0.len(), MOST);
        for big in [
            format!("replace('{}', '')", "x".repeat(LONGEST + 1)),
            format!("replace('x', '{}')", "x".repeat(MOST_GROWTH + 1)),
        ] {
            assert!(Replacements::of_template(&big).0.is_empty());
        }
    }

    #[test]
    fn a_version_knows_where_its_text_was() {
        let source = "replace('/think', '') replace('/no_think', '') replace(' ', '__')";
        let read = Replacements::of_template(source);
        assert_eq!(read.versions("plain").count(), 0);
        let text = "aé/no_/thinkthinkb/thinkc";
        let versions: Vec<Version> = read.versions(text).collect();
        let texts: Vec<&str> = versions.iter().map(Version::text).collect();
        // The last but one is of the opposite order, and the last one of the template's.
        assert_eq!(texts, ["aé/no_thinkbc", "aé/no_thinkbc", "aébc"]);
        let last = &versions[2];
        for (part, whole) in [("aé", "aé"), ("éb", "é"), ("bc", "b"), ("c", "c")] {
            let at = last.text().find(part).unwrap();
            let place = last.first_part(&(at..at + part.len())).unwrap();
            assert_eq!(&text[place], whole, "{part}");
        }
        let spaced: Vec<Version> = read.versions("a b").collect();
        assert_eq!(spaced[0].text(), "a__b");
        assert_eq!(spaced[0].first_part(&(1..3)), None);
        assert_eq!(spaced[0].first_part(&(1..4)), Some(2..3));
    }
}
