//! Tools in a conversation whose template has no place for them: what may be called stands in the
//! instructions, and calls and their results in the text of messages, in the words that many models
//! were taught (Hermes' function calling, which Qwen's models know too).

use card_api::answer_format::{CALL_BEGIN, CALL_END};
use serde_json::{Value, json};

/// Whose words say what may be called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Speaker {
    /// The system's, before everything else.
    System,
    /// The user's, before what the user says first.
    User,
}

/// Whether something is called in a conversation, or may be.
pub(super) fn speaks_of_tools(messages: &Value, tools: Option<&Value>) -> bool {
    let calls = |message: &Value| message["role"] == "tool" || has_calls(message);
    tools.is_some() || messages.as_array().is_some_and(|all| all.iter().any(calls))
}

/// The messages with the tools, calls and results in their texts.
pub(super) fn with_tools_in_text(
    messages: &Value,
    tools: Option<&Value>,
    speaker: Speaker,
) -> Value {
    let mut all: Vec<Value> = Vec::new();
    // Whether the last of them has results.
    let mut results = false;
    for message in messages.as_array().into_iter().flatten() {
        let is_result = message["role"] == "tool";
        let spoken = match is_result {
            true => result_in_text(message),
            false => calls_in_text(message),
        };
        match all.last_mut() {
            // The results of one message's calls are one message, as roles take turns.
            Some(last) if is_result && results => {
                let text = format!("{}\n{}", text_of(last), text_of(&spoken));
                last["content"] = text.into();
            }
            _ => all.push(spoken),
        }
        results = is_result;
    }
    if let Some(tools) = tools {
        introduce(&mut all, &introduction(tools), speaker);
    }
    Value::Array(all)
}

fn text_of(message: &Value) -> &str {
    message["content"].as_str().unwrap_or_default()
}

fn has_calls(message: &Value) -> bool {
    let calls = message["tool_calls"].as_array();
    calls.is_some_and(|calls| !calls.is_empty())
}

/// A message whose calls stand in its text.
fn calls_in_text(message: &Value) -> Value {
    if !has_calls(message) {
        return message.clone();
    }
    let mut message = message.clone();
    let calls = message["tool_calls"].take();
    let mut text = text_of(&message).to_owned();
    for call in calls.as_array().into_iter().flatten() {
        let function = &call["function"];
        let object = json!({ "name": function["name"], "arguments": function["arguments"] });
        if !text.is_empty() {
            text.push('\n');
        }
        text += &format!("{CALL_BEGIN}\n{object}\n{CALL_END}");
    }
    if let Some(fields) = message.as_object_mut() {
        fields.remove("tool_calls");
    }
    message["content"] = text.into();
    message
}

/// The result of a call as the user's words.
fn result_in_text(message: &Value) -> Value {
    let text = format!("<tool_response>\n{}\n</tool_response>", text_of(message));
    json!({ "role": "user", "content": text })
}

/// What may be called, and how.
fn introduction(tools: &Value) -> String {
    let list = tools.as_array().into_iter().flatten();
    let lines: Vec<String> = list.map(Value::to_string).collect();
    format!(
        "# Tools\n\nYou may call one or more functions to assist with the user query.\n\nYou are \
         provided with function signatures within <tools></tools> XML tags:\n<tools>\n{}\n\
         </tools>\n\nFor each function call, return a json object with function name and arguments \
         within {CALL_BEGIN}{CALL_END} XML tags:\n{CALL_BEGIN}\n{{\"name\": <function-name>, \
         \"arguments\": <args-json-object>}}\n{CALL_END}",
        lines.join("\n")
    )
}

/// Puts an introduction where `speaker` speaks.
fn introduce(messages: &mut Vec<Value>, introduction: &str, speaker: Speaker) {
    let (role, before) = match speaker {
        Speaker::System => ("system", false),
        Speaker::User => ("user", true),
    };
    let at = match speaker {
        Speaker::System => messages.first().filter(|m| m["role"] == role).map(|_| 0),
        Speaker::User => messages.iter().position(|m| m["role"] == role),
    };
    match at {
        Some(at) => {
            let own = text_of(&messages[at]);
            let text = match before {
                _ if own.is_empty() => introduction.to_owned(),
                true => format!("{introduction}\n\n{own}"),
                false => format!("{own}\n\n{introduction}"),
            };
            messages[at]["content"] = text.into();
        }
        None => messages.insert(0, json!({ "role": role, "content": introduction })),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn what_may_be_called_stands_in_the_instructions() {
        let tools = json!([{ "type": "function", "function": { "name": "now" } }]);
        let user = json!({ "role": "user", "content": "hi" });
        let system = json!({ "role": "system", "content": "Be brief." });
        assert!(speaks_of_tools(&json!([user]), Some(&tools)));
        assert!(!speaks_of_tools(&json!([system, user]), None));
        let all = with_tools_in_text(&json!([user]), Some(&tools), Speaker::System);
        assert_eq!(all[0]["role"], "system");
        assert!(all[0]["content"].as_str().unwrap().contains("\"now\""));
        assert_eq!(all[1], user);
        let all = with_tools_in_text(&json!([system, user]), Some(&tools), Speaker::System);
        assert_eq!(all.as_array().unwrap().len(), 2);
        assert!(all[0]["content"].as_str().unwrap().starts_with("Be brief."));
        let all = with_tools_in_text(&json!([user]), Some(&tools), Speaker::User);
        assert_eq!(all.as_array().unwrap().len(), 1);
        assert!(all[0]["content"].as_str().unwrap().ends_with("\n\nhi"));
    }

    #[test]
    fn calls_and_results_stand_in_texts() {
        let call = json!({ "function": { "name": "f", "arguments": { "a": 1 } } });
        let messages = json!([
            { "role": "user", "content": "hi" },
            { "role": "assistant", "content": null, "tool_calls": [call, call] },
            { "role": "tool", "content": "1" },
            { "role": "tool", "content": "2" },
        ]);
        assert!(speaks_of_tools(&messages, None));
        let all = with_tools_in_text(&messages, None, Speaker::System);
        let all = all.as_array().unwrap();
        assert_eq!(all.len(), 3);
        let one = "<tool_call>\n{\"name\":\"f\",\"arguments\":{\"a\":1}}\n</tool_call>";
        assert_eq!(all[1]["content"], format!("{one}\n{one}"));
        assert!(all[1].get("tool_calls").is_none());
        assert_eq!(all[2]["role"], "user");
        let result = |n| format!("<tool_response>\n{n}\n</tool_response>");
        assert_eq!(all[2]["content"], format!("{}\n{}", result(1), result(2)));
    }
}
