//! Pages: the live one, and one that explains a request from the audit log.

use serde_json::Value;

const STYLE: &str = include_str!("../web/style.css");
const VIEW: &str = include_str!("../web/view.js");

/// The live page.
pub(crate) fn live_page() -> String {
    fill(include_str!("../web/index.html"))
}

/// A page that explains a request by its records (see [`card_audit::read`]):
/// every token by source, the candidates that stood there, both lanes over time.
pub fn page(records: &[Value]) -> String {
    // In a script `</` could end it.
    let records = Value::from(records.to_vec())
        .to_string()
        .replace("</", "<\\/");
    fill(include_str!("../web/explain.html")).replace("/*RECORDS*/", &records)
}

fn fill(page: &str) -> String {
    page.replace("/*STYLE*/", STYLE).replace("/*VIEW*/", VIEW)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn records_cannot_end_the_script() {
        let page = page(&[json!({ "kind": "round", "tokens": ["</script><b>"] })]);
        assert_eq!(page.matches("</script>").count(), 2);
        assert!(page.contains("<\\/script><b>"));
    }
}
