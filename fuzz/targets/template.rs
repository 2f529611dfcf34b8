//! Chat templates: conversations of clients in templates as models have them, and templates
//! that come with files from anywhere. Both end soon, with a text or an error.
//!
//! The renderer is compiled in by itself, since its crate needs llama.cpp.
#![no_main]
#![allow(dead_code)]

use card_api::{PromptInput, parse_chat};

#[path = "../../crates/card-llama/src/chat.rs"]
mod chat;
#[path = "../../crates/card-llama/src/sys/stack.rs"]
mod stack;
mod sys {
    pub(crate) use crate::stack;
}

use chat::{ChatMessage, ChatTemplate};

/// As ChatML has it, as Qwen and Hermes write tools, and as templates that look at everything.
const TEMPLATES: [&str; 3] = [
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'].strip() + '<|im_end|>\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}",
    "{%- if tools %}{%- for tool in tools %}{{ tool | tojson }}\n{%- endfor %}{%- endif %}{%- for m in messages %}{%- if m.tool_calls %}{%- for c in m.tool_calls %}{%- if c.function %}{%- set c = c.function %}{%- endif %}<tool_call>{\"name\": \"{{ c.name }}\", \"arguments\": {{ c.arguments | tojson }}}</tool_call>{%- endfor %}{%- else %}{{ m.role }}: {{ m.content.split('</think>')[-1].lstrip('\n') }}{%- endif %}{%- endfor %}",
    "{{ bos_token }}{% for m in messages %}{% if (m['role'] == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('roles must alternate') }}{% endif %}{% for k, v in m.items() %}{{ k | title }}={{ v | tojson(indent=2) }}{% endfor %}{% endfor %}{{ eos_token }}",
];

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if let Ok(job) = parse_chat(bytes) {
        let Some(PromptInput::Chat { messages, tools }) = job.prompts.first() else {
            panic!("a chat has a conversation");
        };
        for source in TEMPLATES {
            let template = template(source).expect("it parses");
            told(template.render_with_tools(messages, tools.as_ref()));
        }
    } else if let Ok(source) = std::str::from_utf8(bytes)
        && let Ok(template) = template(source)
    {
        told(template.render(&[ChatMessage::new("system", "s"), ChatMessage::new("user", "u")]));
    }
});

fn template(source: &str) -> Result<ChatTemplate, chat::ChatError> {
    ChatTemplate::new(source.to_owned(), "<s>".into(), "</s>".into())
}

fn told(rendered: Result<String, chat::ChatError>) {
    if let Err(error) = rendered {
        assert!(!error.to_string().is_empty());
    }
}
