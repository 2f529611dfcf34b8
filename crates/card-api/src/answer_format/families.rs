//! The families, each found by words that only its chat templates have.

use super::AnswerFormat;
use super::markup::{
    CALL_END, CLOSE_FUNCTION, CallBody, CallMark, DSML, FUNCTION, INVOKE, NameForm, PARAM,
    ThoughtMarks,
};

/// Thoughts as most families write them.
const THINK: ThoughtMarks = ThoughtMarks {
    open: "<think>",
    close: "</think>",
    end_at_call: false,
};
/// The same where a call ends a thought.
const THINK_OR_CALL: ThoughtMarks = ThoughtMarks {
    end_at_call: true,
    ..THINK
};
/// No sign of its own: a format that is not found but given.
const BY_DEFAULT: &[&[&str]] = &[];

/// A mark and what follows it.
const fn mark(open: &'static str, body: CallBody) -> CallMark {
    CallMark { open, body }
}

/// `<tool_call>` around an object: Qwen, Hermes, Granite 4 and many others; and what is read where
/// no family is known.
pub(super) static HERMES: AnswerFormat = AnswerFormat {
    name: "hermes",
    signs: BY_DEFAULT,
    thoughts: THINK,
    sections: &[],
    calls: &[mark("<tool_call>", CallBody::Mixed)],
    closers: &["</tool_call>"],
    call_end: CALL_END,
    channels: false,
};

/// The other families. A template that has all words of one of a family's signs is of the first
/// such family.
pub(super) static FAMILIES: [AnswerFormat; 24] = [
    AnswerFormat {
        name: "harmony",
        signs: &[&["<|channel|>", "<|message|>"]],
        thoughts: ThoughtMarks {
            open: "<|channel|>analysis<|message|>",
            close: "<|end|><|start|>assistant<|channel|>final<|message|>",
            end_at_call: false,
        },
        sections: &[],
        calls: &[],
        closers: &[],
        call_end: "",
        channels: true,
    },
    AnswerFormat {
        name: "gemma4",
        signs: &[&["<|tool_call>", "<tool_call|>"]],
        thoughts: ThoughtMarks {
            open: "<|channel>thought",
            close: "<channel|>",
            end_at_call: false,
        },
        sections: &[],
        calls: &[mark("<|tool_call>", CallBody::Gemma)],
        closers: &["<tool_call|>"],
        call_end: "",
        channels: false,
    },
    AnswerFormat {
        name: "kimi-k2",
        signs: &[&["<|tool_call_begin|>", "<|tool_call_argument_begin|>"]],
        thoughts: THINK_OR_CALL,
        sections: &["<|tool_calls_section_begin|>"],
        calls: &[mark("<|tool_call_begin|>", CallBody::Named(NameForm::Kimi))],
        closers: &["<|tool_call_end|>", "<|tool_calls_section_end|>"],
        call_end: "",
        channels: false,
    },
    AnswerFormat {
        name: "deepseek-dsml",
        signs: &[&["｜DSML｜", "invoke"]],
        thoughts: THINK_OR_CALL,
        sections: &["<｜DSML｜function_calls>", "<｜DSML｜tool_calls>"],
        calls: &[mark("<｜DSML｜invoke name=", CallBody::Tagged(&DSML))],
        closers: &["</｜DSML｜function_calls>", "</｜DSML｜tool_calls>"],
        call_end: "",
        channels: false,
    },
    AnswerFormat {
        name: "deepseek",
        signs: &[&["<｜tool▁call▁begin｜>"]],
        thoughts: THINK,
        sections: &["<｜tool▁calls▁begin｜>"],
        calls: &[mark(
            "<｜tool▁call▁begin｜>",
            CallBody::Named(NameForm::DeepSeek),
        )],
        closers: &["```", "<｜tool▁call▁end｜>", "<｜tool▁calls▁end｜>"],
        call_end: "",
        channels: false,
    },
    AnswerFormat {
        name: "minimax-m2",
        signs: &[&["<minimax:tool_call>", "<invoke"]],
        thoughts: THINK,
        sections: &["<minimax:tool_call>"],
        calls: &[mark("<invoke name=", CallBody::Tagged(&INVOKE))],
        closers: &["</minimax:tool_call>"],
        call_end: "",
        channels: false,
    },
    AnswerFormat {
        name: "seed-oss",
        signs: &[&["<seed:tool_call>"]],
        thoughts: ThoughtMarks {
            open: "<seed:think>",
            close: "</seed:think>",
            end_at_call: false,
        },
        sections: &["<seed:tool_call>"],
        calls: &[mark("<function=", CallBody::Tagged(&CLOSE_FUNCTION))],
        closers: &["</seed:tool_call>"],
        call_end: "",
        channels: false,
    },
    AnswerFormat {
        name: "command-r7b",
        signs: &[&["<|START_ACTION|>"]],
        thoughts: ThoughtMarks {
            open: "<|START_THINKING|>",
            close: "<|END_THINKING|>",
            end_at_call: false,
        },
        sections: &[],
        calls: &[mark("<|START_ACTION|>", CallBody::Json)],
        closers: &["<|END_ACTION|>"],
        call_end: "",
        channels: false,
    },
    AnswerFormat {
        name: "command-r-plus",
        signs: &[&["Action:", "```json", "tool_name"]],
        thoughts: THINK,
        sections: &[],
        calls: &[mark("Action:", CallBody::Json)],
        closers: &["```"],
        call_end: "",
        channels: false,
    },
    AnswerFormat {
        name: "mistral",
        signs: &[&["[TOOL_CALLS]"], &["[THINK]"]],
        thoughts: ThoughtMarks {
            open: "[THINK]",
            close: "[/THINK]",
            end_at_call: false,
        },
        sections: &[],
        calls: &[mark("[TOOL_CALLS]", CallBody::Named(NameForm::Mistral))],
        closers: &["[/TOOL_CALLS]"],
        call_end: "",
        channels: false,
    },
    AnswerFormat {
        name: "lfm2",
        signs: &[
            &["<|tool_call_start|>"],
            &["<|tool_list_start|>"],
            &["List of tools: [", "<|im_start|>"],
        ],
        thoughts: THINK,
        sections: &[],
        calls: &[mark("<|tool_call_start|>", CallBody::Python)],
        closers: &["<|tool_call_end|>"],
        call_end: "",
        channels: false,
    },
    AnswerFormat {
        name: "qwen-coder",
        signs: &[&["<tool_call>", "<function=", "<parameter="]],
        thoughts: THINK_OR_CALL,
        sections: &[],
        calls: &[
            mark("<tool_call>", CallBody::Mixed),
            mark("<function=", CallBody::Tagged(&FUNCTION)),
        ],
        closers: &["</tool_call>"],
        call_end: CALL_END,
        channels: false,
    },
    AnswerFormat {
        name: "glm",
        signs: &[&["<arg_key>", "<arg_value>"]],
        thoughts: THINK_OR_CALL,
        sections: &[],
        calls: &[mark("<tool_call>", CallBody::Mixed)],
        closers: &["</tool_call>"],
        call_end: "",
        channels: false,
    },
    AnswerFormat {
        name: "nemotron-2",
        signs: &[&["<TOOLCALL>"]],
        thoughts: THINK,
        sections: &[],
        calls: &[mark("<TOOLCALL>", CallBody::Json)],
        closers: &["</TOOLCALL>"],
        call_end: "",
        channels: false,
    },
    AnswerFormat {
        name: "phi-4-mini",
        signs: &[
            &["<|tool_call|>", "<|/tool_call|>"],
            &["<|tool|>", "<|/tool|>"],
        ],
        thoughts: THINK,
        sections: &[],
        calls: &[
            mark("<|tool_call|>", CallBody::Json),
            mark("functools", CallBody::Json),
        ],
        closers: &["<|/tool_call|>"],
        call_end: "",
        channels: false,
    },
    AnswerFormat {
        name: "granite",
        signs: &[&["<|tool_call|>"]],
        thoughts: THINK,
        sections: &[],
        calls: &[
            mark("<|tool_call|>", CallBody::Json),
            mark("<tool_call>", CallBody::Mixed),
        ],
        closers: &["</tool_call>"],
        call_end: "",
        channels: false,
    },
    AnswerFormat {
        name: "minicpm-5",
        signs: &[&["<function name=", "<param name="]],
        thoughts: THINK,
        sections: &[],
        calls: &[mark("<function name=", CallBody::Tagged(&PARAM))],
        closers: &[],
        call_end: "",
        channels: false,
    },
    AnswerFormat {
        name: "functionary-3.1",
        signs: &[&["<function=", "</function>"]],
        thoughts: THINK,
        sections: &[],
        calls: &[
            mark("<function=", CallBody::Tagged(&FUNCTION)),
            mark("<|python_tag|>", CallBody::PythonOrJson),
        ],
        closers: &[],
        call_end: "",
        channels: false,
    },
    AnswerFormat {
        name: "llama-3",
        signs: &[
            &["<|python_tag|>"],
            &["<|start_header_id|>", "\"parameters\": dictionary"],
        ],
        thoughts: THINK,
        sections: &[],
        calls: &[
            mark("<|python_tag|>", CallBody::PythonOrJson),
            mark("<tool_call>", CallBody::Mixed),
        ],
        closers: &["</tool_call>"],
        call_end: "",
        channels: false,
    },
    AnswerFormat {
        name: "gigachat-3.1",
        signs: &[&["<|function_call|>"]],
        thoughts: THINK,
        sections: &[],
        calls: &[mark("<|function_call|>", CallBody::Json)],
        closers: &[],
        call_end: "",
        channels: false,
    },
    AnswerFormat {
        name: "gigachat-3",
        signs: &[
            &["function call<|role_sep|>"],
            &["<|message_sep|>", "<|role_sep|>"],
        ],
        thoughts: THINK,
        sections: &["<|message_sep|>"],
        calls: &[mark("function call<|role_sep|>", CallBody::Json)],
        closers: &[],
        call_end: "",
        channels: false,
    },
    AnswerFormat {
        name: "apertus",
        signs: &[&["<|tools_prefix|>"]],
        thoughts: THINK,
        sections: &[],
        calls: &[mark("<|tools_prefix|>", CallBody::Keyed)],
        closers: &["<|tools_suffix|>"],
        call_end: "",
        channels: false,
    },
    AnswerFormat {
        name: "apriel",
        signs: &[&["<tool_calls>", "[BEGIN FINAL RESPONSE]"]],
        thoughts: ThoughtMarks {
            open: "Here are my reasoning steps:",
            close: "[BEGIN FINAL RESPONSE]",
            end_at_call: false,
        },
        sections: &[],
        calls: &[mark("<tool_calls>", CallBody::Json)],
        closers: &["</tool_calls>", "[END FINAL RESPONSE]"],
        call_end: "",
        channels: false,
    },
    AnswerFormat {
        name: "firefunction",
        signs: &[&["functools["], &[" functools"]],
        thoughts: THINK,
        sections: &[],
        calls: &[mark("functools", CallBody::Json)],
        closers: &[],
        call_end: "",
        channels: false,
    },
];
