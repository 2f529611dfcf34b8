"""Frameworks that speak through OpenAI's API, each as it comes, against a running server.

Usage: frameworks.py BASE_URL NAME…, where a NAME is one of the functions below
"""
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Literal

KEY = "test-key"
QUESTION = [{"role": "user", "content": "Name three fruits."}]


def first_model(url):
    """The name of the first model, by the official client, which all of them bring along."""
    import openai

    return openai.OpenAI(base_url=url, api_key=KEY).models.list().data[0].id


def colour():
    """A class of answers that is one of two words, so that every model can fill it in."""
    import pydantic

    class Colour(pydantic.BaseModel):
        colour: Literal["red", "blue"]

    return Colour


def litellm(url, model):
    import litellm

    ask = dict(api_base=url, api_key=KEY, temperature=0, max_tokens=8)
    for provider in ("openai", "hosted_vllm", "lm_studio"):
        name = f"{provider}/{model}"
        whole = litellm.completion(model=name, messages=QUESTION, **ask)
        assert whole.choices[0].message.content and whole.usage.completion_tokens, provider
        pieces = litellm.completion(model=name, messages=QUESTION, stream=True, **ask)
        text = "".join(piece.choices[0].delta.content or "" for piece in pieces)
        assert text == whole.choices[0].message.content, (provider, text)
    done = litellm.text_completion(model=f"text-completion-openai/{model}", prompt="1, 2, 3,", **ask)
    assert done.choices[0].text
    answer = litellm.responses(
        model=f"openai/{model}", input="Name a fruit.", max_output_tokens=8, api_base=url, api_key=KEY)
    assert answer.output[0].content[0].text
    # Ollama's API, at the same address.
    root = url.removesuffix("/v1")
    chat = litellm.completion(
        model=f"ollama_chat/{model}", messages=QUESTION, api_base=root, api_key=KEY, temperature=0, max_tokens=8)
    assert chat.choices[0].message.content


def langchain(url, model):
    from langchain_openai import ChatOpenAI, OpenAI

    ask = dict(model=model, base_url=url, api_key=KEY, temperature=0, max_tokens=24)
    chat = ChatOpenAI(**ask)
    whole = chat.invoke("Name three fruits.")
    assert whole.content and whole.usage_metadata["output_tokens"] <= 24
    assert "".join(piece.content for piece in chat.stream("Name three fruits.")) == whole.content
    assert len(chat.batch(["Name a fruit.", "Name a river."])) == 2
    shaped = chat.with_structured_output(colour(), method="json_schema").invoke("Name a colour.")
    assert shaped.colour in ("red", "blue")
    # What a model forced to call a function says is read as the same class.
    called = chat.with_structured_output(colour(), method="function_calling").invoke("Name a colour.")
    assert called.colour in ("red", "blue")
    answer = ChatOpenAI(**ask, use_responses_api=True).invoke("Name a fruit.")
    assert answer.content
    assert OpenAI(**ask).invoke("1, 2, 3,")


def llama_index(url, model):
    from llama_index.core.llms import ChatMessage
    from llama_index.llms.openai_like import OpenAILike

    llm = OpenAILike(model=model, api_base=url, api_key=KEY, is_chat_model=True, context_window=2048,
                     temperature=0, max_tokens=8)
    question = [ChatMessage(role="user", content="Name three fruits.")]
    whole = llm.chat(question).message.content
    assert whole and [piece.message.content for piece in llm.stream_chat(question)][-1] == whole
    assert llm.complete("Name a fruit.").text


def instructor(url, model):
    import instructor
    import openai

    client = openai.OpenAI(base_url=url, api_key=KEY)
    for mode in (instructor.Mode.JSON_SCHEMA, instructor.Mode.JSON, instructor.Mode.TOOLS):
        answer = instructor.from_openai(client, mode=mode).chat.completions.create(
            model=model, response_model=colour(), temperature=0, max_tokens=64,
            messages=[{"role": "user", "content": 'Answer with {"colour": "red"}.'}])
        assert answer.colour in ("red", "blue"), mode


def pydantic_ai(url, model):
    from pydantic_ai import Agent, NativeOutput
    from pydantic_ai.models.openai import OpenAIChatModel
    from pydantic_ai.providers.openai import OpenAIProvider

    chat = OpenAIChatModel(model, provider=OpenAIProvider(base_url=url, api_key=KEY))
    settings = {"temperature": 0, "max_tokens": 64}
    assert Agent(chat, model_settings=settings).run_sync("Name a fruit.").output
    for output in (NativeOutput(colour()), colour()):
        agent = Agent(chat, output_type=output, model_settings=settings)
        assert agent.run_sync("Name a colour.").output.colour in ("red", "blue")


def smolagents(url, model):
    from smolagents import OpenAIModel

    chat = OpenAIModel(model_id=model, api_base=url, api_key=KEY, temperature=0, max_tokens=8)
    assert chat([{"role": "user", "content": [{"type": "text", "text": "Name a fruit."}]}]).content


def dspy(url, model):
    import dspy

    ask = dict(api_base=url, api_key=KEY, temperature=0, max_tokens=64, cache=False)
    assert dspy.LM(f"openai/{model}", **ask)("Name a fruit.")
    assert dspy.LM(f"openai/{model}", model_type="responses", **ask)("Name a fruit.")


def llm(url, model):
    """simonw's command line, which reads models of one's own from a file."""
    with tempfile.TemporaryDirectory() as folder:
        models = Path(folder) / "extra-openai-models.yaml"
        models.write_text(
            f"- model_id: card\n  model_name: {model}\n  api_base: {url}\n  api_key_name: card\n"
            f"- model_id: card-text\n  model_name: {model}\n  api_base: {url}\n  api_key_name: card\n  completion: true\n")
        (Path(folder) / "keys.json").write_text(f'{{"card": "{KEY}"}}')
        command = [str(Path(sys.executable).parent / "llm"), "-o", "max_tokens", "8", "-o", "temperature", "0"]
        for name in ("card", "card-text"):
            for more in ([], ["--no-stream"]):
                said = subprocess.run(
                    [*command, "-m", name, *more, "Name a fruit."], env={**os.environ, "LLM_USER_PATH": folder},
                    check=True, capture_output=True, text=True, timeout=300)
                assert said.stdout.strip(), (name, said)


if __name__ == "__main__":
    url, names = sys.argv[1], sys.argv[2:]
    # No framework is to report to its makers from a test.
    os.environ.update(LITELLM_TELEMETRY="False", LITELLM_LOCAL_MODEL_COST_MAP="True", DO_NOT_TRACK="1")
    model = first_model(url)
    for name in names:
        globals()[name](url, model)
        print(f"{name}: ok", flush=True)
