use super::*;

fn offered() -> Arc<[OfferedFunction]> {
    let function = OfferedFunction {
        name: "f".into(),
        parameters: None,
    };
    Arc::from([function])
}

fn read(thinking: Thinking, tools: bool, text: &str) -> (Vec<SpokenPart>, usize) {
    let mut reader = AnswerReader::new(thinking, tools.then(offered));
    let mut parts = reader.push(text.to_owned());
    parts.extend(reader.finish());
    (parts, reader.calls())
}

/// The parts of a text that comes in these pieces, those of a kind that follow each other as one.
fn joined(how: ReadAs, pieces: &[&str]) -> (Vec<SpokenPart>, usize) {
    let mut reader = AnswerReader::read_as(how);
    let mut parts = Vec::new();
    for piece in pieces {
        for part in reader.push((*piece).to_owned()) {
            add_part(&mut parts, part);
        }
    }
    for part in reader.finish() {
        add_part(&mut parts, part);
    }
    (parts, reader.calls())
}

fn text(text: &str) -> SpokenPart {
    SpokenPart::Text(text.to_owned())
}

fn call(arguments: &str) -> SpokenPart {
    SpokenPart::Call {
        name: "f".to_owned(),
        arguments: arguments.to_owned(),
    }
}

fn streamed(template: &str) -> ReadAs {
    ReadAs {
        format: AnswerFormat::of_template(template),
        call_format: AnswerFormat::of_template(template),
        thinking: Thinking::MayBegin,
        offered: Some(offered()),
        whole_calls: false,
        forced_call: false,
        one_call: false,
    }
}

#[test]
fn thoughts_text_and_calls_are_told_apart() {
    let thought = SpokenPart::Thought("hm".to_owned());
    let marked = "<think>hm</think><tool_call>{\"name\":\"f\"}</tool_call>";
    let bare = "hm</think>\n```json\n{\"name\":\"f\",\"arguments\":{\"a\":1}}\n```";
    let cases = [
        (
            read(Thinking::MayBegin, true, marked),
            (vec![thought.clone(), call("{}")], 1),
        ),
        (
            read(Thinking::Began, true, bare),
            (vec![thought, call("{\"a\":1}")], 1),
        ),
        (
            read(Thinking::Never, false, marked),
            (vec![text(marked)], 0),
        ),
        (
            read(Thinking::MayBegin, true, "no call"),
            (vec![text("no call")], 0),
        ),
        (
            read(Thinking::MayBegin, true, "{\"name\":\"g\"}"),
            (vec![text("{\"name\":\"g\"}")], 0),
        ),
        (read(Thinking::MayBegin, false, ""), (Vec::new(), 0)),
    ];
    for (found, wanted) in cases {
        assert_eq!(found, wanted);
    }
}

#[test]
fn what_is_no_call_is_shown_as_the_model_wrote_it() {
    for written in [
        "a < b <tool_call>nonsense</tool_call>",
        // Cut off by `max_tokens`: nothing is closed that the model did not close.
        "<tool_call>{\"name\": \"f\", \"arguments\": {\"a\"",
        "<tool_call>{\"name\": \"f\", \"arguments\": {\"a\": nonsense}}</tool_call>",
        "<tool_call><function=f>\n<parameter=a>\n1",
        "<tool_call>",
        "x <tool_call>{}</tool_cal",
        "\n\n<tool_call>\n</tool_call>\n",
        "é<tool_call>é</tool_call>é",
    ] {
        let how = ReadAs {
            whole_calls: true,
            ..streamed("")
        };
        for cut in (0..=written.len()).filter(|&i| written.is_char_boundary(i)) {
            let (before, after) = written.split_at(cut);
            let found = joined(how.clone(), &[before, after]);
            assert_eq!(found, (vec![text(written)], 0), "{cut}");
        }
    }
}

#[test]
fn white_space_is_for_the_reader_unless_a_call_is_next_to_it() {
    let marked = "<tool_call>{\"name\":\"f\"}</tool_call>";
    let both = format!("\n{marked}\n{marked}\n");
    let how = ReadAs {
        whole_calls: true,
        ..streamed("")
    };
    let found = joined(how.clone(), &[&both]);
    assert_eq!(found, (vec![call("{}"), call("{}")], 2));
    let found = joined(how, &[marked, "\n", "\n", "done"]);
    assert_eq!(found, (vec![call("{}"), text("\n\ndone")], 1));
}

#[test]
fn a_stream_tells_a_call_as_it_comes() {
    let begin = SpokenPart::CallBegin { name: "f".into() };
    let more = |text: &str| SpokenPart::CallMore(text.to_owned());
    for (template, written, arguments) in [
        (
            "",
            "<tool_call>{\"name\": \"f\", \"arguments\": {\"a\": \"x} y\"}}</tool_call>",
            r#"{"a": "x} y"}"#,
        ),
        (
            "<tool_call><function=f><parameter=a>",
            "<tool_call>\n<function=f>\n<parameter=a>\nx} y\n</parameter>\n</function>\n</tool_call>",
            r#"{"a":"x} y"}"#,
        ),
        (
            "[TOOL_CALLS]",
            "[TOOL_CALLS]f[ARGS]{\"a\": \"x} y\"}",
            r#"{"a": "x} y"}"#,
        ),
    ] {
        for cut in 0..=written.len() {
            let (before, after) = written.split_at(cut);
            let found = joined(streamed(template), &[before, after]);
            let wanted = vec![begin.clone(), more(arguments), SpokenPart::CallEnd];
            assert_eq!(found, (wanted, 1), "{written} {cut}");
        }
    }
    // What was cut off is shown as far as it came.
    let found = joined(
        streamed(""),
        &["<tool_call>{\"name\": \"f\", \"arguments\": {\"a\": \"x"],
    );
    assert_eq!(found, (vec![begin, more("{\"a\": \"x")], 0));
}

#[test]
fn an_answer_that_has_begun_goes_on_in_its_channel() {
    let how = ReadAs {
        format: AnswerFormat::of_template("<|channel|><|message|>"),
        thinking: Thinking::AnswerBegan,
        offered: None,
        ..streamed("")
    };
    let written = "to= 3, 4<|end|><|start|>assistant<|channel|>analysis<|message|>hm";
    let wanted = vec![
        SpokenPart::Text("to= 3, 4".into()),
        SpokenPart::Thought("hm".into()),
    ];
    for cut in 0..=written.len() {
        let (before, after) = written.split_at(cut);
        let found = joined(how.clone(), &[before, after]);
        assert_eq!(found, (wanted.clone(), 0), "{cut}");
    }
}

#[test]
fn a_forced_call_follows_thoughts_and_is_told_as_it_comes() {
    let how = ReadAs {
        thinking: Thinking::Began,
        offered: None,
        forced_call: true,
        ..streamed("")
    };
    let written = "hm</think>\n\n<tool_call>\n{\"name\": \"arguments\", \"arguments\": {\"a\":1}}\n</tool_call>";
    let name = "arguments".to_owned();
    let wanted = vec![
        SpokenPart::Thought("hm".into()),
        SpokenPart::CallBegin { name },
        SpokenPart::CallMore("{\"a\":1}".into()),
        SpokenPart::CallEnd,
    ];
    for cut in 0..=written.len() {
        let (before, after) = written.split_at(cut);
        let found = joined(how.clone(), &[before, after]);
        assert_eq!(found, (wanted.clone(), 1), "{cut}");
    }
    let cut_off = "</think><tool_call>\n{\"name\": \"f\", \"argu";
    let found = joined(how, &[cut_off]);
    let shown = cut_off.trim_start_matches("</think>");
    assert_eq!(found, (vec![text(shown)], 0));
}

#[test]
fn a_model_that_was_told_of_tools_in_text_writes_calls_as_it_was_told() {
    let how = ReadAs {
        call_format: AnswerFormat::by_default(),
        whole_calls: true,
        ..streamed("<|START_ACTION|>")
    };
    let written = "<|START_THINKING|>hm<|END_THINKING|><tool_call>{\"name\":\"f\"}</tool_call>";
    let thought = SpokenPart::Thought("hm".into());
    assert_eq!(joined(how, &[written]), (vec![thought, call("{}")], 1));
}

#[test]
fn what_stands_behind_the_only_call_is_left_out() {
    let marked = "<tool_call>{\"name\":\"f\"}</tool_call>";
    let written = format!("a{marked}b{marked}");
    let how = ReadAs {
        whole_calls: true,
        one_call: true,
        ..streamed("")
    };
    for cut in 0..=written.len() {
        let (before, after) = written.split_at(cut);
        let (parts, _) = joined(how.clone(), &[before, after]);
        assert_eq!(parts, [text("a"), call("{}")], "{cut}");
    }
}

#[test]
fn no_more_is_held_back_than_a_call_may_have() {
    let piece = "é".repeat(1 << 15);
    let how = ReadAs {
        whole_calls: true,
        ..streamed("")
    };
    let mut pieces = vec!["<tool_call>{\"name\":\"f\",\"x\":\""];
    pieces.extend(std::iter::repeat_n(piece.as_str(), 40));
    let found = joined(how.clone(), &pieces);
    assert_eq!(found, (vec![text(&pieces.concat())], 0));
    // As a whole it is the same.
    let found = joined(how, &[&pieces.concat()]);
    assert_eq!(found, (vec![text(&pieces.concat())], 0));
}

#[test]
fn a_call_of_more_values_than_a_request_may_have_is_text() {
    let list = "[],".repeat(crate::limits::VALUES);
    let written =
        format!("<tool_call>{{\"name\":\"f\",\"arguments\":{{\"a\":[{list}0]}}}}</tool_call>");
    assert_eq!(
        read(Thinking::Never, true, &written),
        (vec![text(&written)], 0)
    );
}
