//! The words in which a family of models writes thoughts and calls.

/// The text that begins a call in the words of most families.
pub const CALL_BEGIN: &str = "<tool_call>";
/// The text that ends it.
pub const CALL_END: &str = "</tool_call>";

/// The marks around what a model thinks.
#[derive(Debug)]
pub(crate) struct ThoughtMarks {
    /// What begins a thought.
    pub(crate) open: &'static str,
    /// What ends it.
    pub(crate) close: &'static str,
    /// Whether a call ends it too, where the mark that ends it is missing.
    pub(crate) end_at_call: bool,
}

/// A mark that begins a call, and what follows it.
#[derive(Debug)]
pub(crate) struct CallMark {
    /// The mark.
    pub(crate) open: &'static str,
    /// What follows it.
    pub(crate) body: CallBody,
}

/// What follows the mark that begins a call.
#[derive(Clone, Copy, Debug)]
pub(crate) enum CallBody {
    /// An object with a name and arguments, or a list of such objects; a fence may stand before.
    Json,
    /// An object whose only key is the name, and its value the arguments; or a list of such.
    Keyed,
    /// An object, or `<function=` with its arguments in marks, or a name and arguments in marks:
    /// what follows `<tool_call>`, which families use with different contents.
    Mixed,
    /// A name and arguments in marks.
    Tagged(&'static TaggedMarks),
    /// Words with the name in them, and an object of arguments.
    Named(NameForm),
    /// Calls as Python writes them: `[f(a=1), g()]`, or one without the brackets.
    Python,
    /// An object or a list, or a call as Python writes it: what follows `<|python_tag|>`.
    PythonOrJson,
    /// `call:f{a:1,b:<|"|>text<|"|>}`.
    Gemma,
}

/// The marks of a call whose arguments stand each in marks of its own.
#[derive(Debug)]
pub(crate) struct TaggedMarks {
    /// What ends the name of the function; empty where a line break or the next mark does.
    pub(crate) name_end: &'static str,
    /// What begins an argument.
    pub(crate) argument_open: &'static str,
    /// What ends the name of an argument.
    pub(crate) argument_name_end: &'static str,
    /// What begins the value of an argument; empty where the value follows its name at once.
    pub(crate) value_open: &'static str,
    /// What ends an argument; `{}` in it is the argument's name.
    pub(crate) argument_close: &'static str,
    /// What ends the call.
    pub(crate) call_close: &'static str,
    /// What says that the call is over, though `call_close` is missing; empty where nothing does.
    pub(crate) also_over: &'static str,
    /// Whether a line break at each end of a value is none of it.
    pub(crate) padded: bool,
}

/// How the name stands in the words before an object of arguments.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum NameForm {
    /// `functions.NAME:0<|tool_call_argument_begin|>`.
    Kimi,
    /// `NAME<｜tool▁sep｜>`, or `function<｜tool▁sep｜>NAME` and the beginning of a fence.
    DeepSeek,
    /// `NAME[ARGS]`, `NAME[CALL_ID]ID[ARGS]`, or a list of objects as with [`CallBody::Json`].
    Mistral,
}

/// `<function=NAME>`, `<parameter=NAME>`: Qwen3-Coder, Qwen3.5, Nemotron 3, Step 3.5.
pub(crate) const FUNCTION: TaggedMarks = TaggedMarks {
    name_end: ">",
    argument_open: "<parameter=",
    argument_name_end: ">",
    value_open: "",
    argument_close: "</parameter>",
    call_close: "</function>",
    also_over: "</tool_call>",
    padded: true,
};

/// The same with values that begin and end at their marks: Seed-OSS.
pub(crate) const CLOSE_FUNCTION: TaggedMarks = TaggedMarks {
    also_over: "</seed:tool_call>",
    padded: false,
    ..FUNCTION
};

/// `NAME`, `<arg_key>`, `<arg_value>`: GLM 4.5 and later, Ling 3.
pub(crate) const ARG_KEY: TaggedMarks = TaggedMarks {
    name_end: "",
    argument_open: "<arg_key>",
    argument_name_end: "</arg_key>",
    value_open: "<arg_value>",
    argument_close: "</arg_value>",
    call_close: "</tool_call>",
    also_over: "",
    padded: false,
};

/// `<invoke name="NAME">`, `<parameter name="NAME">`: MiniMax M2.
pub(crate) const INVOKE: TaggedMarks = TaggedMarks {
    name_end: ">",
    argument_open: "<parameter name=",
    argument_name_end: ">",
    value_open: "",
    argument_close: "</parameter>",
    call_close: "</invoke>",
    also_over: "</minimax:tool_call>",
    padded: false,
};

/// The same with the marks of DeepSeek V3.2 and V4, which say whether a value is text.
pub(crate) const DSML: TaggedMarks = TaggedMarks {
    name_end: ">",
    argument_open: "<｜DSML｜parameter name=",
    argument_name_end: ">",
    value_open: "",
    argument_close: "</｜DSML｜parameter>",
    call_close: "</｜DSML｜invoke>",
    also_over: "",
    padded: false,
};

/// What stands before every tag of MiniMax M3.
pub(crate) const MINIMAX_TAG: &str = "]<]minimax[>[<";

/// Tags that are called as the arguments are, each behind a mark; what is not flat has further such
/// tags in it: MiniMax M3.
pub(crate) const NAMED_TAGS: TaggedMarks = TaggedMarks {
    name_end: ">",
    argument_open: MINIMAX_TAG,
    argument_name_end: ">",
    value_open: "",
    argument_close: "]<]minimax[>[</{}>",
    call_close: "]<]minimax[>[</invoke>",
    also_over: "",
    padded: false,
};

/// `<|open|>call tool="NAME"<|sep|>`, `<|open|>argument key="NAME"<|sep|>`: Kimi K3.
pub(crate) const OPEN_CLOSE: TaggedMarks = TaggedMarks {
    name_end: "<|sep|>",
    argument_open: "<|open|>argument key=",
    argument_name_end: "<|sep|>",
    value_open: "",
    argument_close: "<|close|>argument<|sep|>",
    call_close: "<|close|>call<|sep|>",
    also_over: "",
    padded: false,
};

/// `<function name="NAME">`, `<param name="NAME">`: MiniCPM 5.
pub(crate) const PARAM: TaggedMarks = TaggedMarks {
    name_end: ">",
    argument_open: "<param name=",
    argument_name_end: ">",
    value_open: "",
    argument_close: "</param>",
    call_close: "</function>",
    also_over: "",
    padded: false,
};
