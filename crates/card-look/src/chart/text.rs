//! Numbers and names as they stand in a chart, and the room they take.

/// What a number of a chart is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// A number; the axis' title says of what.
    Number,
    /// So many times something: 1.7×.
    Times,
    /// A share, between 0 and 1: 70 %.
    Share,
}

impl Unit {
    /// The number at a tick of an axis.
    pub(super) fn tick(self, value: f64) -> String {
        match self {
            Unit::Number => number(value),
            Unit::Times => format!("{}×", number(value)),
            Unit::Share => format!("{} %", number(100.0 * value)),
        }
    }

    /// The number beside a bar, always with the same digits.
    pub(super) fn value(self, value: f64) -> String {
        match self {
            Unit::Number if value.abs() >= 100.0 => format!("{value:.0}"),
            Unit::Number => format!("{value:.1}"),
            Unit::Times => format!("{value:.2}×"),
            Unit::Share => format!("{:.0} %", 100.0 * value),
        }
    }
}

/// A number in few digits, without zeros behind the point that say nothing.
pub(super) fn number(value: f64) -> String {
    let digits = match value.abs() {
        v if v >= 100.0 => 0,
        v if v >= 10.0 => 1,
        _ => 2,
    };
    let text = format!("{value:.digits$}");
    if text.contains('.') {
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    } else {
        text
    }
}

/// About how many pixels a text takes at the charts' 13 pixels, rather more than less.
pub(super) fn width_of(text: &str) -> f64 {
    // Letters of Japanese, Chinese and Korean are as wide as they are high.
    let wide = |c: char| c as u32 > 0x2e80;
    let width = |c: char| match c {
        _ if wide(c) => 13.0,
        '%' | 'M' | 'W' | 'm' | 'w' => 11.5,
        _ => 7.0,
    };
    text.chars().map(width).sum()
}

/// The text, cut so that it takes no more than `room` pixels.
pub(super) fn shorten(text: &str, room: f64) -> String {
    if width_of(text) <= room {
        return text.to_owned();
    }
    let mut kept = String::new();
    for c in text.chars() {
        kept.push(c);
        if width_of(&kept) + width_of("…") > room {
            kept.pop();
            break;
        }
    }
    kept + "…"
}

/// The text on one line or two of at most `room` pixels each, broken behind a space or hyphen.
pub(super) fn wrap(text: &str, room: f64) -> Vec<String> {
    if width_of(text) <= room {
        return vec![text.to_owned()];
    }
    let ends = text.char_indices().filter(|(_, c)| matches!(c, ' ' | '-'));
    let mut ends = ends.map(|(at, c)| at + c.len_utf8());
    match ends.rfind(|&end| width_of(&text[..end]) <= room) {
        Some(end) => vec![
            text[..end].trim_end().to_owned(),
            shorten(&text[end..], room),
        ],
        None => vec![shorten(text, room)],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short() {
        let shown = [0.0, 0.25, 1.0, 2.5, 12.5, 128.0, 1024.0].map(number);
        assert_eq!(shown, ["0", "0.25", "1", "2.5", "12.5", "128", "1024"]);
        assert_eq!(Unit::Times.tick(2.0), "2×");
        assert_eq!(Unit::Share.tick(0.25), "25 %");
        assert_eq!(Unit::Times.value(1.7), "1.70×");
    }

    #[test]
    fn names_fit_their_room() {
        assert_eq!(wrap("draft-then-verify", 84.0), ["draft-then-", "verify"]);
        assert_eq!(wrap("card", 84.0), ["card"]);
        for name in ["peer http://127.0.0.1:8080", "一二三四五六七八九十", "a b"] {
            for line in wrap(name, 70.0) {
                assert!(width_of(&line) <= 70.0, "{line}");
            }
        }
    }
}
