//! A line that was typed in a chat: a message for the model, or a command.

/// What `/help` says.
pub const HELP: &str = "\
/stats  figures of the last answer
/reset  start over
/help   this
/quit   leave (also Ctrl-D)
Ctrl-C ends an answer early. What is typed meanwhile waits for the next prompt.";

/// What a line means.
#[derive(Debug, PartialEq)]
pub enum ChatLine<'a> {
    Nothing,
    Message(&'a str),
    Help,
    Stats,
    Reset,
    Quit,
    /// It looks like a command, and is none.
    Unknown(&'a str),
}

impl<'a> ChatLine<'a> {
    /// Reads a line. A command is a `/` and a word; a path is none, and `//` begins a message that
    /// begins with `/`.
    pub fn read(line: &'a str) -> Self {
        let text = line.trim();
        let Some(rest) = text.strip_prefix('/') else {
            return match text {
                "" => ChatLine::Nothing,
                _ => ChatLine::Message(line),
            };
        };
        if rest.starts_with('/') {
            return ChatLine::Message(rest);
        }
        let word = rest.split_whitespace().next().unwrap_or_default();
        match word {
            "help" | "?" => ChatLine::Help,
            "stats" => ChatLine::Stats,
            "reset" | "clear" | "new" => ChatLine::Reset,
            "quit" | "exit" | "bye" => ChatLine::Quit,
            _ if is_word(word) => ChatLine::Unknown(word),
            _ => ChatLine::Message(line),
        }
    }
}

fn is_word(text: &str) -> bool {
    let of_word = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    text.starts_with(|c: char| c.is_ascii_alphabetic()) && text.chars().all(of_word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_after_a_slash_is_a_command_or_none_that_there_is() {
        assert_eq!(ChatLine::read(" /quit "), ChatLine::Quit);
        assert_eq!(ChatLine::read("/help me"), ChatLine::Help);
        assert_eq!(ChatLine::read("/stats"), ChatLine::Stats);
        assert_eq!(ChatLine::read("/reset"), ChatLine::Reset);
        assert_eq!(ChatLine::read("/foo bar"), ChatLine::Unknown("foo"));
        assert_eq!(ChatLine::read("  "), ChatLine::Nothing);
        assert!(HELP.contains("/stats") && HELP.contains("/reset"));
    }

    #[test]
    fn what_only_begins_with_a_slash_is_a_message() {
        for line in ["What is 1/2?", "/etc/passwd is what?", "/", "/ 2", "/2"] {
            assert_eq!(ChatLine::read(line), ChatLine::Message(line));
        }
        assert_eq!(ChatLine::read("//foo"), ChatLine::Message("/foo"));
    }
}
