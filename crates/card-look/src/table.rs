//! Tables that can be read on a phone.

use std::fmt::Write;

use crate::escape::escape;

/// A table whose rows become blocks on a phone, each cell with its head before it. The first
/// cell of a row is its name. Heads and cells are text.
pub fn stacked<H: AsRef<str>>(heads: &[H], rows: &[Vec<String>]) -> String {
    format!("<div class=\"stacked\">{}</div>", table(heads, rows))
}

/// A table with many columns, in a frame that scrolls sideways; `label` names the frame for
/// those who do not see it. Heads and cells are text.
pub fn wide<H: AsRef<str>>(label: &str, heads: &[H], rows: &[Vec<String>]) -> String {
    format!(
        "<div class=\"wide\" tabindex=\"0\" role=\"region\" aria-label=\"{}\">{}</div>",
        escape(label),
        table(heads, rows)
    )
}

fn table<H: AsRef<str>>(heads: &[H], rows: &[Vec<String>]) -> String {
    let heads: Vec<String> = heads.iter().map(|h| escape(h.as_ref())).collect();
    let mut html = String::from("<table><thead><tr>");
    for head in &heads {
        // A corner that says nothing is no head.
        let _ = match head.as_str() {
            "" => write!(html, "<td></td>"),
            head => write!(html, "<th scope=\"col\">{head}</th>"),
        };
    }
    html.push_str("</tr></thead><tbody>");
    for row in rows {
        html.push_str("<tr>");
        for (i, cell) in row.iter().enumerate() {
            let cell = escape(cell);
            let _ = match (i, heads.get(i)) {
                (0, _) => write!(html, "<th scope=\"row\">{cell}</th>"),
                (_, Some(head)) => write!(html, "<td data-head=\"{head}\">{cell}</td>"),
                (_, None) => write!(html, "<td>{cell}</td>"),
            };
        }
        html.push_str("</tr>");
    }
    html + "</tbody></table>"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_cell_knows_its_head_and_text_stays_text() {
        let rows = [vec!["<auto>".to_owned(), "1.70".to_owned()]];
        let html = stacked(&["", "speed-\"up\""], &rows);
        assert!(
            html.contains("<th scope=\"row\">&lt;auto&gt;</th>"),
            "{html}"
        );
        assert!(
            html.contains("<td data-head=\"speed-&quot;up&quot;\">1.70</td>"),
            "{html}"
        );
        let html = wide("all \"columns\"", &["a"], &[]);
        assert!(
            html.contains("aria-label=\"all &quot;columns&quot;\""),
            "{html}"
        );
    }
}
