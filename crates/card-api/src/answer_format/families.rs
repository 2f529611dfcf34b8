//! The families, each found by words that only its chat templates have.

use super::format::AnswerFormat;
use super::markup::{
    CALL_BEGIN, CALL_END, CLOSE_FUNCTION, CallBody, CallMark, DSML, FUNCTION, INVOKE, NAMED_TAGS,
    NameForm, OPEN_CLOSE, PARAM, ThoughtMarks,
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
/// Text and thoughts alone, and no sign by which it is found; every family says what it has beside.
const PLAIN: AnswerFormat = AnswerFormat {
    name: "",
    signs: &[],
    thoughts: THINK,
    sections: &[],
    calls: &[],
    closers: &[],
    dropped: &[],
    call_end: "",
    channels: false,
};

/// A mark and what follows it.
const fn mark(open: &'static str, body: CallBody) -> CallMark {
    CallMark { open, body }
}

/// `<tool_call>` around an object: Qwen, Hermes, Granite 4 and many others; and what is read where
/// no family is known.
pub(super) static HERMES: AnswerFormat = AnswerFormat {
    name: "hermes",
    calls: &[mark(CALL_BEGIN, CallBody::Mixed)],
    closers: &[CALL_END],
    call_end: CALL_END,
    ..PLAIN
};

/// The other families. A template that has all words of one of a family's signs is of the first
/// such family.
pub(super) static FAMILIES: [AnswerFormat; 26] = [
    AnswerFormat {
        name: "harmony",
        signs: &[&["<|channel|>", "<|message|>"]],
        thoughts: ThoughtMarks {
            open: "<|channel|>analysis<|message|>",
            close: "<|end|><|start|>assistant<|channel|>final<|message|>",
            end_at_call: false,
        },
        channels: true,
        ..PLAIN
    },
    AnswerFormat {
        name: "gemma4",
        signs: &[&["<|tool_call>", "<tool_call|>"]],
        thoughts: ThoughtMarks {
            open: "<|channel>thought",
            close: "<channel|>",
            end_at_call: false,
        },
        calls: &[mark("<|tool_call>", CallBody::Gemma)],
        closers: &["<tool_call|>"],
        dropped: &["<|channel>thought\n<channel|>", "<channel|>"],
        ..PLAIN
    },
    AnswerFormat {
        name: "kimi-k2",
        signs: &[&["<|tool_call_begin|>", "<|tool_call_argument_begin|>"]],
        thoughts: THINK_OR_CALL,
        sections: &["<|tool_calls_section_begin|>"],
        calls: &[mark("<|tool_call_begin|>", CallBody::Named(NameForm::Kimi))],
        closers: &["<|tool_call_end|>", "<|tool_calls_section_end|>"],
        ..PLAIN
    },
    AnswerFormat {
        name: "deepseek-dsml",
        signs: &[&["｜DSML｜", "invoke"]],
        thoughts: THINK_OR_CALL,
        sections: &["<｜DSML｜function_calls>", "<｜DSML｜tool_calls>"],
        calls: &[mark("<｜DSML｜invoke name=", CallBody::Tagged(&DSML))],
        closers: &["</｜DSML｜function_calls>", "</｜DSML｜tool_calls>"],
        ..PLAIN
    },
    AnswerFormat {
        name: "deepseek",
        signs: &[&["<｜tool▁call▁begin｜>"]],
        sections: &["<｜tool▁calls▁begin｜>"],
        calls: &[mark(
            "<｜tool▁call▁begin｜>",
            CallBody::Named(NameForm::DeepSeek),
        )],
        closers: &["```", "<｜tool▁call▁end｜>", "<｜tool▁calls▁end｜>"],
        ..PLAIN
    },
    AnswerFormat {
        name: "kimi-k3",
        signs: &[
            &["<|open|>", "<|sep|>", "<|close|>"],
            &["tool_list", "<|sep|>"],
        ],
        thoughts: ThoughtMarks {
            open: "<|open|>think<|sep|>",
            close: "<|close|>think<|sep|>",
            end_at_call: false,
        },
        sections: &["<|open|>tools<|sep|>"],
        calls: &[mark("<|open|>call tool=", CallBody::Tagged(&OPEN_CLOSE))],
        closers: &["<|close|>tools<|sep|>", "<|close|>message<|sep|>"],
        dropped: &[
            "<|open|>response<|sep|>",
            "<|close|>response<|sep|>",
            "<|close|>message<|sep|>",
        ],
        ..PLAIN
    },
    AnswerFormat {
        name: "minimax-m3",
        signs: &[&["]<]minimax[>["]],
        thoughts: ThoughtMarks {
            open: "<mm:think>",
            close: "</mm:think>",
            end_at_call: false,
        },
        sections: &["]<]minimax[>[<tool_call>"],
        calls: &[mark(
            "]<]minimax[>[<invoke name=",
            CallBody::Tagged(&NAMED_TAGS),
        )],
        closers: &["]<]minimax[>[</tool_call>"],
        ..PLAIN
    },
    AnswerFormat {
        name: "minimax-m2",
        signs: &[&["<minimax:tool_call>", "<invoke"]],
        sections: &["<minimax:tool_call>"],
        calls: &[mark("<invoke name=", CallBody::Tagged(&INVOKE))],
        closers: &["</minimax:tool_call>"],
        ..PLAIN
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
        ..PLAIN
    },
    AnswerFormat {
        name: "command-r7b",
        signs: &[&["<|START_ACTION|>"]],
        thoughts: ThoughtMarks {
            open: "<|START_THINKING|>",
            close: "<|END_THINKING|>",
            end_at_call: false,
        },
        calls: &[mark("<|START_ACTION|>", CallBody::Json)],
        closers: &["<|END_ACTION|>"],
        dropped: &[
            "<|START_RESPONSE|>",
            "<|END_RESPONSE|>",
            "<|START_TEXT|>",
            "<|END_TEXT|>",
        ],
        ..PLAIN
    },
    AnswerFormat {
        name: "command-r-plus",
        signs: &[&["Action:", "```json", "tool_name"]],
        calls: &[mark("Action:", CallBody::Json)],
        closers: &["```"],
        ..PLAIN
    },
    AnswerFormat {
        name: "mistral",
        signs: &[&["[TOOL_CALLS]"], &["[THINK]"]],
        thoughts: ThoughtMarks {
            open: "[THINK]",
            close: "[/THINK]",
            end_at_call: false,
        },
        calls: &[mark("[TOOL_CALLS]", CallBody::Named(NameForm::Mistral))],
        closers: &["[/TOOL_CALLS]"],
        ..PLAIN
    },
    AnswerFormat {
        name: "lfm2",
        signs: &[
            &["<|tool_call_start|>"],
            &["<|tool_list_start|>"],
            &["List of tools: [", "<|im_start|>"],
        ],
        calls: &[mark("<|tool_call_start|>", CallBody::Python)],
        closers: &["<|tool_call_end|>"],
        ..PLAIN
    },
    AnswerFormat {
        name: "qwen-coder",
        signs: &[&["<tool_call>", "<function=", "<parameter="]],
        thoughts: THINK_OR_CALL,
        calls: &[
            mark("<tool_call>", CallBody::Mixed),
            mark("<function=", CallBody::Tagged(&FUNCTION)),
        ],
        closers: &["</tool_call>"],
        call_end: CALL_END,
        ..PLAIN
    },
    AnswerFormat {
        name: "glm",
        signs: &[&["<arg_key>", "<arg_value>"]],
        thoughts: THINK_OR_CALL,
        calls: &[mark("<tool_call>", CallBody::Mixed)],
        closers: &["</tool_call>"],
        ..PLAIN
    },
    AnswerFormat {
        name: "nemotron-2",
        signs: &[&["<TOOLCALL>"]],
        calls: &[mark("<TOOLCALL>", CallBody::Json)],
        closers: &["</TOOLCALL>"],
        ..PLAIN
    },
    AnswerFormat {
        name: "phi-4-mini",
        signs: &[
            &["<|tool_call|>", "<|/tool_call|>"],
            &["<|tool|>", "<|/tool|>"],
        ],
        calls: &[
            mark("<|tool_call|>", CallBody::Json),
            mark("functools", CallBody::Json),
        ],
        closers: &["<|/tool_call|>"],
        ..PLAIN
    },
    AnswerFormat {
        name: "granite",
        signs: &[&["<|tool_call|>"]],
        calls: &[
            mark("<|tool_call|>", CallBody::Json),
            mark("<tool_call>", CallBody::Mixed),
        ],
        closers: &["</tool_call>"],
        ..PLAIN
    },
    AnswerFormat {
        name: "minicpm-5",
        signs: &[&["<function name=", "<param name="]],
        calls: &[mark("<function name=", CallBody::Tagged(&PARAM))],
        ..PLAIN
    },
    AnswerFormat {
        name: "functionary-3.1",
        signs: &[&["<function=", "</function>"]],
        calls: &[
            mark("<function=", CallBody::Tagged(&FUNCTION)),
            mark("<|python_tag|>", CallBody::PythonOrJson),
        ],
        ..PLAIN
    },
    AnswerFormat {
        name: "llama-3",
        signs: &[
            &["<|python_tag|>"],
            &["<|start_header_id|>", "\"parameters\": dictionary"],
        ],
        calls: &[
            mark("<|python_tag|>", CallBody::PythonOrJson),
            mark("<tool_call>", CallBody::Mixed),
        ],
        closers: &["</tool_call>"],
        ..PLAIN
    },
    AnswerFormat {
        name: "gigachat-3.1",
        signs: &[&["<|function_call|>"]],
        calls: &[mark("<|function_call|>", CallBody::Json)],
        ..PLAIN
    },
    AnswerFormat {
        name: "gigachat-3",
        signs: &[
            &["function call<|role_sep|>"],
            &["<|message_sep|>", "<|role_sep|>"],
        ],
        sections: &["<|message_sep|>"],
        calls: &[mark("function call<|role_sep|>", CallBody::Json)],
        ..PLAIN
    },
    AnswerFormat {
        name: "apertus",
        signs: &[&["<|tools_prefix|>"]],
        calls: &[mark("<|tools_prefix|>", CallBody::Keyed)],
        closers: &["<|tools_suffix|>"],
        ..PLAIN
    },
    AnswerFormat {
        name: "apriel",
        signs: &[&["<tool_calls>", "[BEGIN FINAL RESPONSE]"]],
        thoughts: ThoughtMarks {
            open: "Here are my reasoning steps:",
            close: "[BEGIN FINAL RESPONSE]",
            end_at_call: false,
        },
        calls: &[mark("<tool_calls>", CallBody::Json)],
        closers: &["</tool_calls>", "[END FINAL RESPONSE]"],
        ..PLAIN
    },
    AnswerFormat {
        name: "firefunction",
        signs: &[&["functools["], &[" functools"]],
        calls: &[mark("functools", CallBody::Json)],
        ..PLAIN
    },
];
