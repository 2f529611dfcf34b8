"""openai-agents against a running server, as it comes: its default model speaks /v1/responses.

Usage: agents_client.py BASE_URL [--tools]
"""
import asyncio
import json
import sys

import openai
from agents import Agent, ModelSettings, Runner, function_tool, set_default_openai_client, set_tracing_disabled

client = openai.AsyncOpenAI(base_url=sys.argv[1], api_key="test-key", max_retries=0)
set_default_openai_client(client, use_for_tracing=False)
set_tracing_disabled(True)


@function_tool
def get_weather(city: str) -> str:
    """The weather of a city."""
    return f"18 degrees and rain in {city}"


async def main():
    model = (await client.models.list()).data[0].id
    settings = ModelSettings(temperature=0)
    # A small model may go on for ever, so it is told what to say by a schema's list.
    short = {"format": {"type": "json_schema", "name": "fruit", "schema": {"enum": ["apple", "pear"]}}}
    told = ModelSettings(temperature=0, extra_body={"text": short})
    agent = Agent(name="fruit", instructions="Answer with a fruit.", model=model, model_settings=told)
    result = await Runner.run(agent, "Name a fruit.")
    assert json.loads(result.final_output) in ("apple", "pear"), result.final_output
    assert result.raw_responses[0].usage.total_tokens > 0

    # A second turn sends the first answer back as it came.
    again = await Runner.run(agent, result.to_input_list() + [{"role": "user", "content": "And another?"}])
    assert json.loads(again.final_output) in ("apple", "pear"), again.final_output

    # Streamed, the text is the same, and the client's own classes take every event.
    streamed = Runner.run_streamed(agent, "Name a fruit.")
    text, kinds = "", []
    async for event in streamed.stream_events():
        if event.type == "raw_response_event":
            kinds.append(event.data.type)
            if event.data.type == "response.output_text.delta":
                text += event.data.delta
    assert text == result.final_output == streamed.final_output, (text, result.final_output)
    assert kinds[0] == "response.created" and kinds[-1] == "response.completed", kinds

    # The client itself: whole, stream with its helper, and what is not kept.
    whole = await client.responses.create(model=model, input="Name a fruit.", text=short, temperature=0)
    assert json.loads(whole.output_text) in ("apple", "pear") and whole.status == "completed"
    async with client.responses.stream(model=model, input="Name a fruit.", max_output_tokens=5, temperature=0) as stream:
        # Its helper for the final response knows complete ones only.
        async for event in stream:
            last = event
    final = last.response
    assert final.status in ("incomplete", "completed") and final.usage.output_tokens <= 5
    try:
        await client.responses.retrieve(whole.id)
    except openai.NotFoundError:
        pass
    else:
        raise AssertionError("a response was kept")

    # Tools, where the model's template knows them.
    if "--tools" in sys.argv:
        forced = ModelSettings(temperature=0, tool_choice="required", max_tokens=200)
        agent = Agent(name="weather", instructions="Use the tool.", model=model, model_settings=forced,
                      tools=[get_weather], tool_use_behavior="stop_on_first_tool")
        result = await Runner.run(agent, "What is the weather in Paris?")
        assert "degrees" in result.final_output, result.final_output
        # And where nothing is forced: Qwen2.5-Coder writes its call as bare JSON.
        agent = Agent(name="weather", instructions="Use the tool.", model=model, model_settings=settings,
                      tools=[get_weather], tool_use_behavior="stop_on_first_tool")
        result = await Runner.run(agent, "What is the weather in Paris?")
        assert "degrees" in result.final_output, result.final_output


asyncio.run(main())
print("openai-agents: ok")
