"""The official Python client against a running server, unmodified.

Usage: openai_client.py BASE_URL [--tools]
"""
import json
import sys

import openai

client = openai.OpenAI(base_url=sys.argv[1], api_key="test-key", max_retries=0)
with_tools = "--tools" in sys.argv
model = client.models.list().data[0].id
ask = dict(model=model, messages=[{"role": "user", "content": "Name three fruits."}], temperature=0, max_tokens=24)

# Whole and streamed answers agree; usage comes with both.
whole = client.chat.completions.create(**ask, seed=1)
assert whole.choices[0].message.content and whole.usage.completion_tokens <= 24
chunks = list(client.chat.completions.create(**ask, stream=True, stream_options={"include_usage": True}))
text = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
assert text == whole.choices[0].message.content, (text, whole)
assert chunks[-1].usage.completion_tokens == whole.usage.completion_tokens

# Choices, log probabilities, stop strings.
two = client.chat.completions.create(**{**ask, "temperature": 0.9}, n=2, seed=7, logprobs=True, top_logprobs=2)
again = client.chat.completions.create(**{**ask, "temperature": 0.9}, n=2, seed=7)
assert [c.message.content for c in two.choices] == [c.message.content for c in again.choices]
assert all(len(t.top_logprobs) == 2 for t in two.choices[0].logprobs.content)
stopped = client.chat.completions.create(**ask, stop=["\n"])
assert "\n" not in stopped.choices[0].message.content

# Structured output through the client's own helper.
schema = {"type": "object", "properties": {"colour": {"enum": ["red", "blue"]}}, "required": ["colour"], "additionalProperties": False}
shaped = client.chat.completions.create(
    **{**ask, "max_tokens": 60}, response_format={"type": "json_schema", "json_schema": {"name": "c", "schema": schema, "strict": True}})
assert json.loads(shaped.choices[0].message.content)["colour"] in ("red", "blue")

# Predicted output.
guess = client.chat.completions.create(**ask, prediction={"type": "content", "content": text})
assert guess.choices[0].message.content == text
assert guess.usage.completion_tokens_details.accepted_prediction_tokens > 0

# Completions.
done = client.completions.create(model=model, prompt="1, 2, 3,", max_tokens=4, temperature=0, logprobs=1, echo=True)
assert done.choices[0].text.startswith("1, 2, 3,")
scored = client.completions.create(model=model, prompt=done.choices[0].text, max_tokens=0, logprobs=1, echo=True).choices[0]
assert scored.text == done.choices[0].text and scored.logprobs.token_logprobs[0] is None
assert len(scored.logprobs.tokens) == len(scored.logprobs.token_logprobs) > 4
assert all(p <= 0 for p in scored.logprobs.token_logprobs[1:])

# Errors are the client's own classes.
for broken, kind in [
    (dict(temperature=-1), openai.BadRequestError),
    (dict(messages=[]), openai.BadRequestError),
    (dict(messages=[{"role": "user", "content": "x " * 9000}]), openai.BadRequestError),
]:
    try:
        client.chat.completions.create(**{**ask, **broken})
    except kind as error:
        assert error.body["message"], error
    else:
        raise AssertionError(f"{broken} was accepted")
try:
    openai.OpenAI(base_url=sys.argv[1], api_key="wrong", max_retries=0).models.list()
except openai.AuthenticationError:
    pass
else:
    raise AssertionError("a wrong key was accepted")

# Tools, where the model's template knows them.
if with_tools:
    tool = {"type": "function", "function": {"name": "get_weather", "description": "Weather of a city",
            "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}}}
    question = [{"role": "user", "content": "What is the weather in Paris?"}]
    called = client.chat.completions.create(model=model, messages=question, tools=[tool], tool_choice="required", temperature=0, max_tokens=60)
    call = called.choices[0].message.tool_calls[0]
    assert called.choices[0].finish_reason == "tool_calls" and call.function.name == "get_weather"
    assert "city" in json.loads(call.function.arguments)
    question += [called.choices[0].message, {"role": "tool", "tool_call_id": call.id, "content": "18 degrees, rain"}]
    told = client.chat.completions.create(model=model, messages=question, tools=[tool], temperature=0, max_tokens=40)
    # A small model may ask once more.
    assert told.choices[0].message.content or told.choices[0].message.tool_calls
    parts = client.chat.completions.create(model=model, messages=question[:1], tools=[tool], tool_choice="required", temperature=0, max_tokens=60, stream=True)
    pieces = [c.choices[0].delta.tool_calls[0].function for c in parts if c.choices and c.choices[0].delta.tool_calls]
    assert [p.name for p in pieces if p.name] == ["get_weather"], pieces
    assert json.loads("".join(p.arguments or "" for p in pieces)) == json.loads(call.function.arguments), pieces
    # Where nothing is forced, a model that writes its call as bare JSON calls too.
    auto = client.chat.completions.create(model=model, messages=question[:1], tools=[tool], temperature=0, max_tokens=60)
    assert auto.choices[0].message.tool_calls[0].function.name == "get_weather", auto
print("python client: ok")
