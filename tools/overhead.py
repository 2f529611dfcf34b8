#!/usr/bin/env python3
"""What HTTP costs: `card serve` against `card generate`, plain decoding, interleaved.

  tools/overhead.py [--card target/release/card] [--model MODEL] [--rounds 6] [--tokens 100]

Each round asks the same prompt once of `card generate`, once of the server for a whole answer,
and once as a stream whose bytes are read and thrown away. Compared are tokens per second from
the first token on; for a whole answer, the server's own time to the first token is taken off.
"""
import argparse
import http.client
import json
import re
import statistics
import subprocess
import sys
import time

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--card", default="target/release/card")
parser.add_argument("--model", default="qwen2.5-coder-1.5b")
parser.add_argument("--rounds", type=int, default=6)
parser.add_argument("--tokens", type=int, default=100)
args = parser.parse_args()

PROMPT = "Count from one to three hundred in words: one, two, three, four, five, six, seven, eight,"
PLAIN = ["-m", args.model, "--draft", "none", "--mode", "plain"]


def generated():
    """Tokens per second after the first, by the summary of `card generate`."""
    command = [args.card, "generate", *PLAIN, "-p", PROMPT, "-n", str(args.tokens)]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stderr
    found = re.search(r"(\d+) tokens, ([\d.]+) tokens/s; first token after (\d+) ms", said)
    tokens, rate = int(found[1]), float(found[2])
    assert tokens == args.tokens, f"{tokens} tokens only: choose fewer with --tokens"
    return rate


def ask(address, stream):
    body = {"prompt": PROMPT, "max_tokens": args.tokens, "temperature": 0, "stream": stream}
    connection = http.client.HTTPConnection(*address, timeout=600)
    connection.request("POST", "/v1/completions", json.dumps(body), {"Content-Type": "application/json"})
    return connection.getresponse()


def streamed(address):
    response = ask(address, True)
    first = last = None
    # Chunks arrive as they are written; each is read and thrown away.
    while response.read1(65536):
        last = time.monotonic()
        first = first or last
    return (args.tokens - 1) / (last - first)


def first_token_seconds(address):
    connection = http.client.HTTPConnection(*address, timeout=60)
    connection.request("GET", "/metrics")
    text = connection.getresponse().read().decode()
    return float(re.search(r"^card_time_to_first_token_seconds_sum(?:\{[^}]*\})? (\S+)", text, re.M)[1])


def whole(address):
    before = first_token_seconds(address)
    start = time.monotonic()
    answer = json.loads(ask(address, False).read())
    seconds = time.monotonic() - start
    assert answer["usage"]["completion_tokens"] == args.tokens, answer["usage"]
    return (args.tokens - 1) / (seconds - (first_token_seconds(address) - before))


server = subprocess.Popen([args.card, "serve", *PLAIN, "--parallel", "1", "--port", "0", "--no-page"],
                          stderr=subprocess.PIPE, text=True)
try:
    for line in server.stderr:
        if found := re.search(r"http://([\d.]+):(\d+)/v1", line):
            break
    address = found[1], int(found[2])
    ways = {"whole": lambda: whole(address), "streamed": lambda: streamed(address)}
    ratios = {name: [] for name in ways}
    for round in range(args.rounds + 1):
        plain = generated()
        for name, way in ways.items():
            ratio = way() / plain
            # The first round warms up.
            if round:
                ratios[name].append(ratio)
        print(f"round {round}: generate {plain:.2f} tokens/s", file=sys.stderr)
    for name, values in ratios.items():
        print(f"{name}: {statistics.median(values):.3f} ({min(values):.3f}–{max(values):.3f}) of `card generate`")
finally:
    server.terminate()
