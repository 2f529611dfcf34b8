//! Text that is safe to stand in a page.

/// The text as it can stand in an element or in a quoted attribute of HTML or SVG.
pub fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
        .replace('\'', "&#39;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_means_something_to_html_is_left() {
        let safe = escape("<a href=\"x\" title='y'>&amp;</a>");
        assert!(!safe.contains(['<', '>', '"', '\'']), "{safe}");
        assert_eq!(escape("&lt;"), "&amp;lt;");
    }
}
