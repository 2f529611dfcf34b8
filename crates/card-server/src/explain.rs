//! A page that explains a request from the audit log.

pub(crate) use card_look::STYLE;
use serde_json::Value;

/// A module of the chat page that draws rounds.
const VIEW: &str = include_str!("../web/view.js");

/// A page that explains a request by its records (see [`card_audit::read`]):
/// every token by source, the candidates that stood there, both lanes over time.
pub fn page(records: &[Value]) -> String {
    let records = embedded(&Value::from(records.to_vec()));
    fill(include_str!("../web/explain.html")).replace("/*RECORDS*/", &records)
}

/// A value as part of a script in a page. Nothing in it can end the script (`</script>`),
/// or keep it from ending (`<!--<script>`), or end a line for old readers of JavaScript.
/// In JSON these characters stand in strings only, where an escape means the same.
fn embedded(value: &Value) -> String {
    value
        .to_string()
        .replace('<', "\\u003c")
        .replace('\u{2028}', "\\u2028")
        .replace('\u{2029}', "\\u2029")
}

/// The page with its style and its script. It is one file and no module, so nothing is exported.
fn fill(page: &str) -> String {
    let view = VIEW.replace("\nexport ", "\n");
    page.replace("/*STYLE*/", STYLE).replace("/*VIEW*/", &view)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// What would mean something to a reader of HTML or JavaScript.
    const NASTY: [&str; 10] = [
        "</script><b>",
        "</SCRIPT >",
        "<!--<script>",
        "<!--",
        "-->",
        "<![CDATA[",
        "<script",
        "\u{2028}\u{2029}",
        "\"};alert(1);//\\",
        "/*RECORDS*//*STYLE*//*VIEW*/",
    ];

    #[test]
    fn the_page_has_the_look_of_all_pages() {
        let page = page(&[]);
        assert!(page.contains(STYLE));
        assert!(!page.contains("/*STYLE*/") && !page.contains("/*VIEW*/"));
    }

    #[test]
    fn no_text_in_a_record_means_anything_to_the_page() {
        let tags = |page: &str| {
            let page = page.to_lowercase();
            ["<script", "</script", "<!--", "]]>"].map(|tag| page.matches(tag).count())
        };
        let none = page(&[]);
        for nasty in NASTY {
            // As a text, as a name, and after any beginning of it.
            let record = json!({ "kind": "round", nasty: { "tokens": [nasty, nasty.repeat(2)] } });
            let page = page(std::slice::from_ref(&record));
            assert_eq!(tags(&page), tags(&none), "{nasty}");
            assert_eq!(page.lines().count(), none.lines().count(), "{nasty}");
            assert!(!page.contains(['\u{2028}', '\u{2029}']), "{nasty}");
            // The script reads what was written.
            let (_, from) = page.split_once("const records = ").unwrap();
            let (data, _) = from.split_once(";\n").unwrap();
            let read: Vec<Value> = serde_json::from_str(data).unwrap();
            assert_eq!(read, [record], "{nasty}");
        }
    }
}
