//! Text on a terminal whose lines end between words.

use std::io::{self, IsTerminal, Write};

use unicode_width::UnicodeWidthChar;

/// Fewer columns are not worth it.
const NARROWEST: usize = 20;

/// Columns of the terminal that standard output is; `None` if it is none, or does not tell.
pub fn columns() -> Option<usize> {
    let out = io::stdout();
    if !out.is_terminal() || std::env::var_os("TERM").is_some_and(|term| term == "dumb") {
        return None;
    }
    let size = rustix::termios::tcgetwinsize(&out).ok()?;
    Some(usize::from(size.ws_col)).filter(|columns| *columns >= NARROWEST)
}

/// Passes text on, with line ends between words where a line of the terminal is full. Code between
/// fences (```) is left as it is, so that it can be copied. The last word is held until its end is
/// known.
pub struct WordWrap<W: Write> {
    out: W,
    /// Columns of a line; `None` to pass all on as it comes.
    width: Option<usize>,
    /// Columns of the line so far, without the word that is held.
    column: usize,
    word: String,
    word_width: usize,
    /// The first characters of the line that are no blanks.
    line_head: String,
    fenced: bool,
}

impl<W: Write> WordWrap<W> {
    /// Nothing was written yet, and the line is empty.
    pub fn new(out: W, width: Option<usize>) -> Self {
        WordWrap {
            out,
            width,
            column: 0,
            word: String::new(),
            word_width: 0,
            line_head: String::new(),
            fenced: false,
        }
    }

    /// Passes on the word that is held.
    pub fn finish(mut self) -> io::Result<()> {
        let mut rest = String::new();
        if let Some(width) = self.width {
            self.place_word(width, &mut rest);
        }
        self.out.write_all(rest.as_bytes())?;
        self.out.flush()
    }

    /// Takes a character; what can be shown by now is added to `shown`.
    fn take(&mut self, c: char, width: usize, shown: &mut String) {
        if c == '\n' {
            self.place_word(width, shown);
            shown.push('\n');
            self.end_line();
            return;
        }
        if self.line_head.len() < 3 && !c.is_whitespace() {
            self.line_head.push(c);
        }
        let columns = c.width().unwrap_or(0);
        if self.fenced {
            shown.push(c);
        } else if c == ' ' {
            self.place_word(width, shown);
            // A blank at the edge would begin the next line.
            if self.column < width {
                shown.push(c);
                self.column += 1;
            }
        } else if columns == 2 {
            // Lines of Chinese, Japanese and Korean end between any two characters.
            self.place_word(width, shown);
            self.word.push(c);
            self.word_width = 2;
            self.place_word(width, shown);
        } else {
            self.word.push(c);
            self.word_width += columns;
        }
    }

    /// Shows the word that is held, on a new line where it does not fit.
    fn place_word(&mut self, width: usize, shown: &mut String) {
        if self.column > 0 && self.column + self.word_width > width {
            shown.push('\n');
            self.column = 0;
        }
        shown.push_str(&self.word);
        self.column += self.word_width;
        if self.column > width {
            // The terminal broke it.
            self.column %= width;
        }
        self.word.clear();
        self.word_width = 0;
    }

    fn end_line(&mut self) {
        self.fenced ^= self.line_head == "```" || self.line_head == "~~~";
        self.line_head.clear();
        self.column = 0;
    }
}

impl<W: Write> Write for WordWrap<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match (self.width, std::str::from_utf8(bytes)) {
            (Some(width), Ok(text)) => {
                let mut shown = String::new();
                for c in text.chars() {
                    self.take(c, width, &mut shown);
                }
                self.out.write_all(shown.as_bytes())?;
            }
            _ => self.out.write_all(bytes)?,
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is shown of a text that comes in these pieces.
    fn shown(width: Option<usize>, pieces: &[&str]) -> String {
        let mut out = Vec::new();
        let mut wrap = WordWrap::new(&mut out, width);
        for piece in pieces {
            wrap.write_all(piece.as_bytes()).unwrap();
        }
        wrap.finish().unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn lines_end_between_words_however_the_text_comes() {
        let whole = shown(Some(10), &["one two three four"]);
        assert_eq!(whole, "one two \nthree four");
        let pieces = shown(Some(10), &["one tw", "o thr", "ee f", "our"]);
        assert_eq!(pieces, whole);
        // A word that ends at the edge stays, and its blank does not begin the next line.
        assert_eq!(shown(Some(7), &["one two three"]), "one two\nthree");
    }

    #[test]
    fn code_and_what_is_no_terminal_are_left_as_they_are() {
        let code = "so:\n```rust\nlet a = b + c + d;\n```\nand on it goes";
        let wrapped = shown(Some(10), &[code]);
        assert!(wrapped.contains("let a = b + c + d;\n"), "{wrapped}");
        assert!(wrapped.ends_with("and on it \ngoes"), "{wrapped}");
        assert_eq!(shown(None, &[code]), code);
    }

    #[test]
    fn a_long_word_and_wide_characters_break_where_the_line_is_full() {
        assert_eq!(shown(Some(4), &["abcdefghij k"]), "abcdefghij k");
        assert_eq!(shown(Some(5), &["日本語です"]), "日本\n語で\nす");
    }
}
