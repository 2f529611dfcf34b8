"""The official Anthropic client for Python against a running server, unmodified.

Usage: anthropic_client.py URL [--tools]
"""
import sys

import anthropic

client = anthropic.Anthropic(base_url=sys.argv[1], api_key="test-key", max_retries=0)
with_tools = "--tools" in sys.argv
model = client.models.list().data[0].id
ask = dict(model=model, messages=[{"role": "user", "content": "Name three fruits."}], extra_body={"temperature": 0}, max_tokens=24)

# Whole and streamed answers agree; usage comes with both.
whole = client.messages.create(**ask)
assert whole.type == "message" and whole.role == "assistant" and whole.content[0].type == "text"
assert whole.stop_reason in ("end_turn", "max_tokens") and 0 < whole.usage.output_tokens <= 24
with client.messages.stream(**ask) as stream:
    text = "".join(stream.text_stream)
    final = stream.get_final_message()
assert text == whole.content[0].text == final.content[0].text, (text, whole)
assert final.usage.output_tokens == whole.usage.output_tokens and final.stop_reason == whole.stop_reason
events = [event.type for event in client.messages.create(**ask, stream=True)]
assert events[0] == "message_start" and events[-2:] == ["message_delta", "message_stop"], events

# Instructions, blocks, stop sequences.
system = [{"type": "text", "text": "Answer in one word.", "cache_control": {"type": "ephemeral"}}]
blocks = [{"role": "user", "content": [{"type": "text", "text": "Name a fruit."}, {"type": "text", "text": "Only one."}]}]
assert client.messages.create(**{**ask, "messages": blocks}, system=system).content
letter = next(c for c in whole.content[0].text[1:] if c.isalpha())
stopped = client.messages.create(**ask, stop_sequences=[letter])
assert stopped.stop_reason == "stop_sequence" and stopped.stop_sequence == letter, stopped

# Tokens are counted as they are used.
counted = client.messages.count_tokens(model=model, messages=ask["messages"], system="Be brief.")
used = client.messages.create(**ask, system="Be brief.").usage
assert counted.input_tokens == used.input_tokens + used.cache_read_input_tokens, (counted, used)

# A line that changes with every request does not defeat the prefix cache, where prompts are kept.
def cached(total: str) -> int:
    line = f"x-anthropic-billing-header: cc_version=2.1.101.e51; cc_entrypoint=cli; cch={total};"
    system = [{"type": "text", "text": line}, {"type": "text", "text": "You are a careful engineer. " * 20}]
    return client.messages.create(**ask, system=system).usage.cache_read_input_tokens
first, second, same = cached("a5145"), cached("fa690"), cached("fa690")
assert second == same, (first, second, same)

# Thinking is a matter of the model; what the client says of it is taken.
assert client.messages.create(**ask, thinking={"type": "disabled"}).content

# Errors are the client's own classes.
image = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AAAA"}}
for broken, kind in [
    (dict(extra_body={"temperature": -1}), anthropic.BadRequestError),
    (dict(messages=[]), anthropic.BadRequestError),
    (dict(messages=[{"role": "user", "content": "x " * 9000}]), anthropic.BadRequestError),
    (dict(messages=[{"role": "user", "content": [image]}]), anthropic.BadRequestError),
    (dict(extra_body={"unheard_of": 1}), anthropic.BadRequestError),
]:
    try:
        client.messages.create(**{**ask, **broken})
    except kind as error:
        assert error.body["type"] == "error" and error.body["error"]["message"], error
        assert error.request_id, error
    else:
        raise AssertionError(f"{broken} was accepted")
try:
    anthropic.Anthropic(base_url=sys.argv[1], api_key="wrong", max_retries=0).messages.create(**ask)
except anthropic.AuthenticationError as error:
    assert error.body["error"]["type"] == "authentication_error", error
else:
    raise AssertionError("a wrong key was accepted")

# Tools, where the model's template knows them.
if with_tools:
    tool = {"name": "get_weather", "description": "Weather of a city",
            "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}}
    question = [{"role": "user", "content": "What is the weather in Paris?"}]
    forced = dict(model=model, messages=question, tools=[tool], tool_choice={"type": "any"}, extra_body={"temperature": 0}, max_tokens=60)
    called = client.messages.create(**forced)
    call = next(block for block in called.content if block.type == "tool_use")
    assert called.stop_reason == "tool_use" and call.name == "get_weather" and "city" in call.input
    with client.messages.stream(**forced) as stream:
        streamed = stream.get_final_message()
    assert [b.input for b in streamed.content if b.type == "tool_use"] == [call.input], streamed
    question += [
        {"role": "assistant", "content": called.content},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": call.id, "content": "18 degrees, rain"}]},
    ]
    told = client.messages.create(model=model, messages=question, tools=[tool], extra_body={"temperature": 0}, max_tokens=40)
    assert told.content
print("anthropic client: ok")
