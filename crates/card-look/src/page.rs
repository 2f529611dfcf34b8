//! The frame of a page that is read: its head, what it means first, what is folded away last.

use std::fmt::Write;

use crate::STYLE;
use crate::escape::escape;

/// A page that needs nothing but itself. What is added stands in the order in which it came.
pub struct Page {
    html: String,
}

impl Page {
    /// A page in this language (`en`, `ja`) with this title.
    pub fn new(language: &str, title: &str) -> Self {
        let (language, title) = (escape(language), escape(title));
        let html = format!(
            "<!doctype html>\n<html lang=\"{language}\"><head><meta charset=\"utf-8\">\
             <meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\
             <title>{title}</title><link rel=\"icon\" href=\"data:,\">\n<style>\n{STYLE}</style></head>\n\
             <body><main class=\"read\"><h1>{title}</h1>\n"
        );
        Page { html }
    }

    /// What the page means for its reader: it stands before all else, in larger letters.
    pub fn lead(&mut self, text: &str) {
        let _ = writeln!(self.html, "<p class=\"lead\">{}</p>", escape(text));
    }

    /// A remark that must not be missed; `strong` is its first words.
    pub fn note(&mut self, strong: &str, text: &str) {
        let (strong, text) = (escape(strong), escape(text));
        let _ = writeln!(self.html, "<p class=\"note\"><b>{strong}</b>{text}</p>");
    }

    /// A heading below the title.
    pub fn heading(&mut self, text: &str) {
        let _ = writeln!(self.html, "<h2>{}</h2>", escape(text));
    }

    /// HTML as it is: a chart, a table, or what was escaped before.
    pub fn add(&mut self, html: &str) {
        self.html.push_str(html);
        self.html.push('\n');
    }

    /// HTML that is folded away until somebody opens it; `summary` is what they see.
    pub fn fold(&mut self, summary: &str, html: &str) {
        let summary = escape(summary);
        let _ = writeln!(
            self.html,
            "<details><summary>{summary}</summary>\n{html}\n</details>"
        );
    }

    /// The whole page.
    pub fn finish(mut self) -> String {
        self.html.push_str("</main></body></html>\n");
        self.html
    }
}

/// Terms and what they mean, as a definition list; both are text.
pub fn terms<T: AsRef<str>, M: AsRef<str>>(pairs: &[(T, M)]) -> String {
    let mut list = String::from("<dl>");
    for (term, meaning) in pairs {
        let (term, meaning) = (escape(term.as_ref()), escape(meaning.as_ref()));
        let _ = write!(list, "<dt>{term}</dt><dd>{meaning}</dd>");
    }
    list + "</dl>"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_whole_and_text_in_it_is_only_text() {
        let mut page = Page::new("en", "a <b>");
        page.lead("1 < 2");
        page.note("Look: ", "<i>");
        page.fold("<u>", &terms(&[("<s>", "&")]));
        let html = page.finish();
        assert!(html.starts_with("<!doctype html>") && html.trim_end().ends_with("</html>"));
        for tag in ["<b>\n", "<i>", "<u>", "<s>", "a <b>"] {
            assert!(!html.contains(tag), "{tag}");
        }
        assert!(html.contains("1 &lt; 2") && html.contains("<dd>&amp;</dd>"));
    }

    #[test]
    fn the_style_sheet_cannot_end_its_element() {
        assert!(!STYLE.contains("</"));
    }
}
