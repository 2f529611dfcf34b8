#!/usr/bin/env python3
"""What HTTP and streams cost: `card serve` against `card generate`, plain decoding, interleaved.

  tools/stream_cost.py [--card target/release/card] [--model MODEL] [--rounds 12] [--tokens 100]

A round is `card generate`, the server in three ways in an order drawn anew, and `card generate`
again; each way is compared with the mean of the two, so that a machine that slows down in between
does not count. The ways:

  whole     one answer; the server's own time to the first token is taken off
  stream    a stream whose bytes are read and thrown away
  chat      a stream of a chat that is read as an SDK reads it: lines, JSON, the text put together

Compared are tokens per second from the first token on. The cost is 1 - server / generate: its
median over the rounds, with the interval that holds the median 95 times in 100 (bootstrap). The
status is 1 if the whole interval of a way lies above --most, so that chance does not explain it,
and 2 if an interval is wider than twice --most, so that it says nothing: then the machine was too
busy, or there were too few rounds.
"""
import argparse
import http.client
import json
import random
import re
import statistics
import subprocess
import sys
import time

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--card", default="target/release/card", help="the program")
parser.add_argument("--model", default="qwen2.5-coder-1.5b", help="the target")
parser.add_argument("--rounds", type=int, default=12, help="rounds that count; one more warms up")
parser.add_argument("--tokens", type=int, default=100, help="tokens of each answer")
parser.add_argument("--most", type=float, default=0.02, help="a cost above this is too much")
parser.add_argument("--seed", type=int, default=1, help="draws the order of the ways, and the intervals")
args = parser.parse_args()

PROMPT = "Count from one to three hundred in words: one, two, three, four, five, six, seven, eight,"
PLAIN = ["-m", args.model, "--draft", "none", "--mode", "plain"]


def generated():
    """Tokens per second after the first, by the summary of `card generate`."""
    command = [args.card, "generate", *PLAIN, "-p", PROMPT, "-n", str(args.tokens)]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stderr
    found = re.search(r"(\d+) tokens, ([\d.]+) tokens/s; first token after (\d+) ms", said)
    if not found:
        sys.exit(f"error: `card generate` says no rate: {said[-500:]}")
    if int(found[1]) != args.tokens:
        sys.exit(f"error: the text ends after {found[1]} tokens; choose fewer with --tokens")
    return float(found[2])


def post(address, path, fields):
    body = {"max_tokens": args.tokens, "temperature": 0, **fields}
    connection = http.client.HTTPConnection(*address, timeout=600)
    connection.request("POST", path, json.dumps(body), {"Content-Type": "application/json"})
    response = connection.getresponse()
    if response.status != 200:
        sys.exit(f"error: {path}: {response.status} {response.read()[:500]!r}")
    return response


def first_token_seconds(address):
    """The time of all answers so far to their first tokens, by the server's metrics."""
    connection = http.client.HTTPConnection(*address, timeout=60)
    connection.request("GET", "/metrics")
    text = connection.getresponse().read().decode()
    return float(re.search(r"^card_time_to_first_token_seconds_sum(?:\{[^}]*\})? (\S+)", text, re.M)[1])


def whole(address):
    before = first_token_seconds(address)
    start = time.monotonic()
    answer = json.loads(post(address, "/v1/completions", {"prompt": PROMPT}).read())
    seconds = time.monotonic() - start
    if answer["usage"]["completion_tokens"] != args.tokens:
        sys.exit(f"error: the text ends early: {answer['usage']}; choose fewer with --tokens")
    return (args.tokens - 1) / (seconds - (first_token_seconds(address) - before))


def stream(address):
    response = post(address, "/v1/completions", {"prompt": PROMPT, "stream": True})
    first = last = None
    # Chunks arrive as they are written. A comment comes before the first token.
    while more := response.read1(65536):
        last = time.monotonic()
        if first is None and b"data: " in more:
            first = last
    return (args.tokens - 1) / (last - first)


def chat(address):
    fields = {"messages": [{"role": "user", "content": PROMPT}], "stream": True,
              "stream_options": {"include_usage": True}}
    text, first, tokens = "", None, 0
    for line in post(address, "/v1/chat/completions", fields):
        if not line.startswith(b"data: ") or line.startswith(b"data: [DONE]"):
            continue
        chunk = json.loads(line[6:])
        tokens = (chunk.get("usage") or {}).get("completion_tokens", tokens)
        if chunk["choices"] and (piece := chunk["choices"][0]["delta"].get("content")):
            last = time.monotonic()
            first = first or last
            text += piece
    if tokens != args.tokens:
        sys.exit(f"error: the chat ends after {tokens} tokens; choose fewer with --tokens")
    return (tokens - 1) / (last - first)


def interval(values, rng, draws=4000):
    """The bounds that hold the median 95 times in 100."""
    medians = sorted(statistics.median(rng.choices(values, k=len(values))) for _ in range(draws))
    return medians[int(0.025 * draws)], medians[int(0.975 * draws) - 1]


def verdict(costs, rng):
    """Prints the cost of each way; returns the status of the process."""
    status = 0
    for name, values in costs.items():
        low, high = interval(values, rng)
        if high - low > 2 * args.most:
            word, status = "too noisy to tell", status or 2
        elif low > args.most:
            word, status = "too much", 1
        else:
            word = "fine" if high <= args.most else "not shown to be too much"
        print(f"{name:7} costs {statistics.median(values):7.2%} ({low:.2%} to {high:.2%}): {word}")
    return status


def main():
    rng = random.Random(args.seed)
    server = subprocess.Popen(
        [args.card, "serve", *PLAIN, "--parallel", "1", "--port", "0", "--no-page"], stderr=subprocess.PIPE, text=True
    )
    try:
        for line in server.stderr:
            if found := re.search(r"http://([\d.]+):(\d+)/v1", line):
                break
        else:
            sys.exit("error: the server did not start")
        address = found[1], int(found[2])
        ways = {"whole": whole, "stream": stream, "chat": chat}
        costs = {name: [] for name in ways}
        for number in range(args.rounds + 1):
            before = generated()
            order = rng.sample(list(ways), len(ways))
            rates = {name: ways[name](address) for name in order}
            after = generated()
            # The first round warms up.
            if number:
                for name, rate in rates.items():
                    costs[name].append(1 - rate / ((before + after) / 2))
            print(f"round {number}: generate {before:.2f} and {after:.2f} tokens/s, "
                  + ", ".join(f"{name} {rates[name]:.2f}" for name in ways), file=sys.stderr)
    finally:
        server.terminate()
        server.wait()
    return verdict(costs, rng)


if __name__ == "__main__":
    sys.exit(main())
