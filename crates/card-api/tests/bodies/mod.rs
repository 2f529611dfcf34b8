//! Bodies of 4 MiB, each made to cost as much as one of its kind can.

/// Size of a body.
pub const BYTES: usize = 4 << 20;

/// `before`, then `each(i)` as often as it fits, separated by commas, then `after`.
fn filled(before: &str, each: impl Fn(usize) -> String, after: &str) -> String {
    let mut body = before.to_owned();
    for i in 0.. {
        let next = each(i);
        if body.len() + next.len() + after.len() + 1 > BYTES {
            break;
        }
        if i > 0 {
            body.push(',');
        }
        body.push_str(&next);
    }
    body + after
}

/// A chat with one more field, `name`, which fills the body.
fn field(name: &str, open: &str, each: impl Fn(usize) -> String, close: &str) -> String {
    let before =
        format!(r#"{{"prompt":"a","messages":[{{"role":"user","content":"a"}}],"{name}":{open}"#);
    filled(&before, each, &format!("{close}}}"))
}

type Bodies = Vec<(&'static str, String)>;

/// All of them, with what each is.
pub fn all() -> Bodies {
    let mut all = keys();
    all.extend(messages());
    all.extend(texts());
    all.extend(forms());
    all.extend(fields());
    all.extend(items());
    all.extend(tokens());
    all
}

/// The beginning of a chat.
const MESSAGE: &str = r#"{"messages":[{"role":"user","content":"a"}]"#;

/// The same text, whichever it is.
fn always(text: &'static str) -> impl Fn(usize) -> String {
    move |_| text.to_owned()
}

/// Text that fills a body.
fn long(fill: &str) -> String {
    fill.repeat((BYTES - 1024) / fill.len())
}

/// As many of both as a body has room for.
fn deep(open: &str, close: &str) -> (String, String) {
    let depth = BYTES / (open.len() + close.len()) - 64;
    (open.repeat(depth), close.repeat(depth))
}

/// Bodies of many keys.
fn keys() -> Bodies {
    vec![
        ("8,000 unknown keys and a wrong field", {
            let keys: String = (0..8000).map(|i| format!("\"k{i}\":0,")).collect();
            format!(r#"{MESSAGE},{keys}"temperature":"x"}}"#)
        }),
        (
            "350,000 unknown keys and two wrong fields",
            filled(
                "{",
                |i| format!("\"k{i}\":0"),
                r#","n":"x","temperature":"x"}"#,
            ),
        ),
        (
            "unknown keys and a good request",
            filled(
                "{",
                |i| format!("\"k{i}\":0"),
                r#","prompt":"a","messages":[{"role":"user","content":"a"}]}"#,
            ),
        ),
        (
            "one key again and again",
            filled("{", always("\"model\":\"m\""), "}"),
        ),
    ]
}

/// Messages of a chat.
fn messages() -> Bodies {
    vec![
        (
            "messages without anything",
            filled(r#"{"messages":["#, always("{}"), "]}"),
        ),
        (
            "short messages",
            filled(
                r#"{"messages":["#,
                always(r#"{"role":"user","content":"a"}"#),
                "]}",
            ),
        ),
        (
            "messages with many fields",
            filled(
                r#"{"messages":["#,
                |i| format!(r#"{{"role":"u","content":"","f{i}":[[[{{"a":{{}}}}]]]}}"#),
                "]}",
            ),
        ),
        (
            "a message of many parts",
            filled(
                r#"{"messages":[{"role":"user","content":["#,
                always(r#"{"text":"a"}"#),
                "]}]}",
            ),
        ),
        (
            "a message of many empty values",
            filled(
                r#"{"messages":[{"role":"user","content":"a","x":["#,
                always("[]"),
                "]}]}",
            ),
        ),
        (
            "a call whose arguments are many values",
            filled(
                r#"{"messages":[{"role":"assistant","tool_calls":[{"function":{"arguments":"["#,
                always("0"),
                r#"]"}}]}]}"#,
            ),
        ),
        (
            "many calls",
            filled(
                r#"{"messages":[{"role":"assistant","tool_calls":["#,
                always(r#"{"function":{"arguments":"{}"}}"#),
                "]}]}",
            ),
        ),
    ]
}

/// Long texts in messages.
fn texts() -> Bodies {
    vec![
        (
            "a message of one long text",
            format!(
                r#"{{"messages":[{{"role":"user","content":"{}"}}]}}"#,
                long("a")
            ),
        ),
        (
            "a message of escapes",
            format!(
                r#"{{"messages":[{{"role":"user","content":"{}"}}]}}"#,
                long("\\u00e9")
            ),
        ),
        (
            "lone surrogates",
            format!(
                r#"{{"messages":[{{"role":"user","content":"{}"}}]}}"#,
                long("\\ud800")
            ),
        ),
        (
            "a long role",
            format!(r#"{{"messages":[{{"role":"{}"}}]}}"#, long("a")),
        ),
    ]
}

/// Keys, numbers and nesting of every form.
fn forms() -> Bodies {
    let (lists, ends) = deep("[", "]");
    let (objects, object_ends) = deep(r#"{"a":"#, "}");
    vec![
        ("a long key", format!(r#"{{"{}":0}}"#, long("a"))),
        (
            "a long key of a wrong value",
            format!(r#"{{"logit_bias":{{"{}":0}}}}"#, long("1")),
        ),
        (
            "a text where a number should be",
            format!(r#"{{"temperature":"{}"}}"#, long("a")),
        ),
        (
            "a long number",
            format!(r#"{{"temperature":{}}}"#, long("1")),
        ),
        (
            "a long fraction",
            format!(r#"{{"temperature":0.{}}}"#, long("1")),
        ),
        (
            "a long unknown number",
            format!(r#"{MESSAGE},"x":{}}}"#, long("1")),
        ),
        (
            "deep lists in a schema",
            format!(r#"{MESSAGE},"response_format":{lists}{ends}}}"#),
        ),
        (
            "deep lists nobody knows",
            format!(r#"{MESSAGE},"x":{lists}{ends}}}"#),
        ),
        (
            "deep objects nobody knows",
            format!(r#"{MESSAGE},"x":{objects}0{object_ends}}}"#),
        ),
        (
            "deep objects in a message",
            format!(r#"{{"messages":[{{"role":"u","x":{objects}0{object_ends}}}]}}"#),
        ),
        ("only brackets", lists.repeat(2)),
    ]
}

/// Fields of a chat and of a completion, each filled.
fn fields() -> Bodies {
    vec![
        (
            "a schema of many values",
            field(
                "response_format",
                r#"{"type":"json_schema","json_schema":{"schema":{"enum":["#,
                always("{}"),
                "]}}}",
            ),
        ),
        (
            "a schema of many keys",
            field(
                "response_format",
                r#"{"type":"json_schema","json_schema":{"schema":{"#,
                |i| format!("\"k{i}\":{{}}"),
                "}}}",
            ),
        ),
        (
            "many tools",
            field(
                "tools",
                "[",
                always(r#"{"type":"function","function":{"name":"f"}}"#),
                "]",
            ),
        ),
        (
            "tools of many values",
            field(
                "tools",
                r#"[{"type":"function","function":{"name":"f","parameters":{"enum":["#,
                always("[]"),
                "]}}}]",
            ),
        ),
        ("tokens", field("prompt", "[", always("1"), "]")),
        (
            "tokens in lists of one",
            field("prompt", "[", always("[1]"), "]"),
        ),
        ("texts", field("prompt", "[", always("\"a\""), "]")),
        ("stop texts", field("stop", "[", always("\"a\""), "]")),
        (
            "one long stop text",
            format!(r#"{MESSAGE},"stop":"{}"}}"#, long("a")),
        ),
        (
            "biases",
            field("logit_bias", "{", |i| format!("\"{i}\":1"), "}"),
        ),
        (
            "a long prediction",
            format!(r#"{MESSAGE},"prediction":{{"content":"{}"}}}}"#, long("1")),
        ),
        (
            "a prediction of parts",
            field(
                "prediction",
                r#"{"content":["#,
                always(r#"{"text":"a"}"#),
                "]}",
            ),
        ),
        (
            "a long tool choice",
            format!(r#"{MESSAGE},"tool_choice":"{}"}}"#, long("a")),
        ),
        ("white space", format!("{}{MESSAGE}}}", long(" \n"))),
    ]
}

/// Items of a response.
fn items() -> Bodies {
    vec![
        (
            "short items",
            filled(
                r#"{"input":["#,
                always(r#"{"role":"user","content":"a"}"#),
                "]}",
            ),
        ),
        (
            "an item of many parts",
            filled(
                r#"{"input":[{"role":"user","content":["#,
                always(r#"{"type":"input_text","text":"a"}"#),
                "]}]}",
            ),
        ),
        (
            "calls whose arguments are many values",
            filled(
                r#"{"input":["#,
                |i| {
                    let list = "0,".repeat(4000);
                    format!(
                        r#"{{"type":"function_call","call_id":"{i}","name":"f","arguments":"[{list}0]"}}"#
                    )
                },
                "]}",
            ),
        ),
        (
            "a namespace of many tools",
            filled(
                r#"{"input":"a","tools":[{"type":"namespace","name":"n","tools":["#,
                |i| format!(r#"{{"type":"function","name":"f{i}"}}"#),
                "]}]}",
            ),
        ),
    ]
}

/// Bodies of `/tokenize` and `/detokenize`.
fn tokens() -> Bodies {
    vec![
        (
            "tokens for a text",
            filled(r#"{"tokens":["#, always("1"), "]}"),
        ),
        (
            "a text for tokens",
            format!(r#"{{"content":"{}"}}"#, long("a")),
        ),
    ]
}
