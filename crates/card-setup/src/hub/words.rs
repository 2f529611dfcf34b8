//! Texts of strangers, as they may be shown.

/// Characters of a text that are shown.
const MOST_SHOWN: usize = 200;

/// A text of a stranger as it may be shown: without characters that a terminal obeys, and short.
pub fn shown(text: &str) -> String {
    let mut shown: String = text
        .chars()
        .filter(|c| !is_unseen(*c))
        .take(MOST_SHOWN)
        .collect();
    if text.chars().count() > MOST_SHOWN {
        shown.push('…');
    }
    shown
}

/// Whether a character could hide what a text says: control characters, and those that change the
/// direction of writing or take no room.
pub fn is_unseen(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_hub_says_does_not_move_the_cursor() {
        assert_eq!(shown("a\u{1b}[2Jb\r\nc\u{202e}"), "a[2Jbc");
        assert_eq!(shown(&"x".repeat(1000)).chars().count(), MOST_SHOWN + 1);
    }
}
