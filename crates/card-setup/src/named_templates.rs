//! Chat templates of common families by the names that llama-server has for them, for models whose
//! files have none. Each writes a conversation as the family was trained on it; none has a place for
//! tools.

/// Names and templates.
const ALL: [(&str, &str); 8] = [
    (
        "chatml",
        "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' + (m.content or '') \
         + '<|im_end|>\n' }}{% endfor %}\
         {% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}",
    ),
    (
        "llama3",
        "{% for m in messages %}{{ '<|start_header_id|>' + m.role + '<|end_header_id|>\n\n' \
         + (m.content or '') | trim + '<|eot_id|>' }}{% endfor %}\
         {% if add_generation_prompt %}\
         {{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}",
    ),
    (
        "phi3",
        "{% for m in messages %}{{ '<|' + m.role + '|>\n' + (m.content or '') + '<|end|>\n' }}\
         {% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% endif %}",
    ),
    (
        "phi4",
        "{% for m in messages %}{{ '<|im_start|>' + m.role + '<|im_sep|>' + (m.content or '') \
         + '<|im_end|>' }}{% endfor %}\
         {% if add_generation_prompt %}{{ '<|im_start|>assistant<|im_sep|>' }}{% endif %}",
    ),
    (
        "zephyr",
        "{% for m in messages %}{{ '<|' + m.role + '|>\n' + (m.content or '') \
         + '<|endoftext|>\n' }}{% endfor %}\
         {% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% endif %}",
    ),
    (
        // What the system says stands before what the user says.
        "gemma",
        "{% set ns = namespace(system='') %}{% for m in messages %}\
         {% if m.role == 'system' %}{% set ns.system = ns.system + (m.content or '') | trim %}\
         {% elif m.role == 'assistant' %}{{ '<start_of_turn>model\n' + (m.content or '') | trim \
         + '<end_of_turn>\n' }}\
         {% else %}{{ '<start_of_turn>' + m.role + '\n' }}\
         {% if ns.system %}{{ ns.system + '\n\n' }}{% set ns.system = '' %}{% endif %}\
         {{ (m.content or '') | trim + '<end_of_turn>\n' }}{% endif %}{% endfor %}\
         {% if add_generation_prompt %}{{ '<start_of_turn>model\n' }}{% endif %}",
    ),
    (
        "command-r",
        "{% set names = {'system': 'SYSTEM', 'user': 'USER', 'assistant': 'CHATBOT'} %}\
         {% for m in messages %}{% if m.role in names %}\
         {{ '<|START_OF_TURN_TOKEN|><|' + names[m.role] + '_TOKEN|>' + (m.content or '') | trim \
         + '<|END_OF_TURN_TOKEN|>' }}{% endif %}{% endfor %}\
         {% if add_generation_prompt %}\
         {{ '<|START_OF_TURN_TOKEN|><|CHATBOT_TOKEN|>' }}{% endif %}",
    ),
    (
        "mistral-v7",
        "{% for m in messages %}{% if m.role == 'system' %}\
         {{ '[SYSTEM_PROMPT] ' + (m.content or '') + '[/SYSTEM_PROMPT]' }}\
         {% elif m.role == 'user' %}{{ '[INST] ' + (m.content or '') + '[/INST]' }}\
         {% else %}{{ ' ' + (m.content or '') + '</s>' }}{% endif %}{% endfor %}",
    ),
];

/// The names that templates are known by.
pub fn template_names() -> impl Iterator<Item = &'static str> {
    ALL.iter().map(|(name, _)| *name)
}

/// Whether there is a template of this name.
pub fn is_template_name(text: &str) -> bool {
    named_template(text).is_some()
}

/// The template of this name.
pub(crate) fn named_template(text: &str) -> Option<&'static str> {
    let found = ALL.iter().find(|(name, _)| *name == text);
    found.map(|(_, source)| *source)
}

#[cfg(test)]
mod tests {
    use card_llama::{ChatMessage, ChatTemplate};

    use super::*;

    fn written(name: &str) -> String {
        let source = named_template(name).unwrap();
        let template = ChatTemplate::new(source, name, String::new(), String::new());
        let messages = [
            ChatMessage::new("system", " Be brief. "),
            ChatMessage::new("user", "Hi"),
            ChatMessage::new("assistant", "Hello."),
            ChatMessage::new("user", "Bye"),
        ];
        template
            .unwrap()
            .check()
            .unwrap()
            .render(&messages)
            .unwrap()
    }

    #[test]
    fn each_writes_a_conversation_as_its_family_reads_it() {
        assert_eq!(
            written("llama3"),
            "<|start_header_id|>system<|end_header_id|>\n\nBe brief.<|eot_id|>\
             <|start_header_id|>user<|end_header_id|>\n\nHi<|eot_id|>\
             <|start_header_id|>assistant<|end_header_id|>\n\nHello.<|eot_id|>\
             <|start_header_id|>user<|end_header_id|>\n\nBye<|eot_id|>\
             <|start_header_id|>assistant<|end_header_id|>\n\n"
        );
        assert_eq!(
            written("command-r"),
            "<|START_OF_TURN_TOKEN|><|SYSTEM_TOKEN|>Be brief.<|END_OF_TURN_TOKEN|>\
             <|START_OF_TURN_TOKEN|><|USER_TOKEN|>Hi<|END_OF_TURN_TOKEN|>\
             <|START_OF_TURN_TOKEN|><|CHATBOT_TOKEN|>Hello.<|END_OF_TURN_TOKEN|>\
             <|START_OF_TURN_TOKEN|><|USER_TOKEN|>Bye<|END_OF_TURN_TOKEN|>\
             <|START_OF_TURN_TOKEN|><|CHATBOT_TOKEN|>"
        );
        assert_eq!(
            written("gemma"),
            "<start_of_turn>user\nBe brief.\n\nHi<end_of_turn>\n\
             <start_of_turn>model\nHello.<end_of_turn>\n\
             <start_of_turn>user\nBye<end_of_turn>\n<start_of_turn>model\n"
        );
        assert!(written("chatml").ends_with("Bye<|im_end|>\n<|im_start|>assistant\n"));
        assert!(written("mistral-v7").ends_with("[INST] Bye[/INST]"));
        for name in template_names() {
            assert!(written(name).contains("Hello."), "{name}");
        }
    }
}
