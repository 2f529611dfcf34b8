"""The official Ollama client for Python against a running server, unmodified.

Usage: ollama_client.py URL [--tools]
"""
import json
import sys

import ollama

client = ollama.Client(host=sys.argv[1], headers={"Authorization": "Bearer test-key"})
with_tools = "--tools" in sys.argv

# Which models there are.
model = client.list().models[0].model
assert client.ps().models[0].model == model
shown = client.show(model)
assert "completion" in shown.capabilities and shown.modelinfo["card.context_length"] > 0

# Whole and streamed answers agree; counts and times come with both.
messages = [{"role": "user", "content": "Name three fruits."}]
options = {"temperature": 0, "num_predict": 24, "seed": 1}
whole = client.chat(model=model, messages=messages, options=options)
assert whole.message.role == "assistant" and whole.message.content and whole.done
assert whole.done_reason in ("stop", "length") and 0 < whole.eval_count <= 24
assert whole.total_duration >= whole.eval_duration > 0 and whole.prompt_eval_count > 0
parts = list(client.chat(model=model, messages=messages, options=options, stream=True))
assert "".join(part.message.content for part in parts) == whole.message.content
assert parts[-1].done and parts[-1].eval_count == whole.eval_count
assert not any(part.done for part in parts[:-1])
answer = client.generate(model=model, prompt="Name three fruits.", options=options)
lines = list(client.generate(model=model, prompt="Name three fruits.", options=options, stream=True))
assert "".join(line.response for line in lines) == answer.response == whole.message.content
raw = client.generate(model=model, prompt="1, 2, 3,", raw=True, options={**options, "num_predict": 4})
assert raw.response

# Formats.
schema = {"type": "object", "properties": {"colour": {"enum": ["red", "blue"]}}, "required": ["colour"], "additionalProperties": False}
shaped = client.chat(model=model, messages=messages, format=schema, options={**options, "num_predict": 60})
assert json.loads(shaped.message.content)["colour"] in ("red", "blue")

# Log probabilities, and a model that has only to be there.
scored = client.generate(model=model, prompt="Name three fruits.", options=options, logprobs=True, top_logprobs=2)
assert len(scored.logprobs) == scored.eval_count and len(scored.logprobs[0].top_logprobs) == 2
assert client.generate(model=model, keep_alive="5m").done_reason == "load"

# Errors are the client's own class, and say what to do.
for call in [
    lambda: client.chat(model=model, messages=messages, options={"mirostat": 2}),
    lambda: client.chat(model=model, messages=[{"role": "user", "content": "a", "images": [b"\x89PNG"]}]),
    lambda: client.generate(model=model, prompt="a", suffix="b", raw=True),
    lambda: client.embed(model=model, input="a"),
    lambda: client.pull("llama3"),
    lambda: client.show("another"),
]:
    try:
        call()
    except ollama.ResponseError as error:
        assert error.error and error.status_code in (400, 404, 501), error
    else:
        raise AssertionError("what is not done was accepted")
try:
    ollama.Client(host=sys.argv[1], headers={"Authorization": "Bearer wrong"}).list()
except ollama.ResponseError as error:
    assert error.status_code == 401, error
else:
    raise AssertionError("a wrong key was accepted")

# Tools, where the model's template knows them.
if with_tools:
    def get_weather(city: str) -> str:
        """Weather of a city.

        Args:
            city: The name of the city.
        """
        return f"18 degrees and rain in {city}"

    called = client.chat(model=model, messages=[{"role": "user", "content": "What is the weather in Paris?"}],
                         tools=[get_weather], options={**options, "num_predict": 60})
    told = [{"role": "user", "content": "What is the weather in Paris?"}, called.message]
    for call in called.message.tool_calls or []:
        assert call.function.name == "get_weather", called
        told.append({"role": "tool", "tool_name": "get_weather", "content": get_weather(**call.function.arguments)})
    assert client.chat(model=model, messages=told, tools=[get_weather], options=options).message.content
print("ollama client: ok")
