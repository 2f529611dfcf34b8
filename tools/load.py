#!/usr/bin/env python3
"""Load for OpenAI-compatible servers. Needs nothing but Python.

  tools/load.py soak URL --pid PID --seconds 1800      mixed load; memory must stay flat
  tools/load.py compare URL URL… --streams 1,4 PROMPTS  servers against each other, interleaved

`soak` sends requests of many kinds at random (from a seed): short and long ones that come
again, prompts that never come again, log probabilities, schemas, predictions, cancelled and
malformed ones. It checks every status, that greedy answers never change, and that the server
settles: in the second half its memory (RssAnon and VmSwap: what it allocated, swapped out or
not, without files that are mapped) grows by less than 5 % or 32 MiB, and at the end it has no
more than 8 threads and 8 files more than half way. Caches of bounded size may fill in the
first half; so it has to be long enough for that.
`compare` asks every server the same prompts with so many streams at a time, one server after
the other, and prints throughput, time to first token and gaps between tokens, with ratios
to the first server in the same round.
"""
import argparse
import http.client
import json
import os
import random
import statistics
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlparse

ASKED = [
    "Name three rivers.", "What is 17 + 25?", "Write a haiku about rain.", "Explain recursion in two sentences.",
    "List the planets.", "Translate 'good morning' into French.", "What is a hash table?", "Write a SQL query that counts users.",
]


class Client:
    def __init__(self, url, key, timeout):
        parsed = urlparse(url)
        self.host, self.port = parsed.hostname, parsed.port or 80
        self.headers = {"Content-Type": "application/json"}
        if key:
            self.headers["Authorization"] = f"Bearer {key}"
        self.timeout = timeout

    def open(self, method, path, body):
        connection = http.client.HTTPConnection(self.host, self.port, timeout=self.timeout)
        connection.request(method, path, body, self.headers)
        return connection, connection.getresponse()

    def send(self, path, body):
        connection, response = self.open("POST", path, body)
        data = response.read()
        connection.close()
        return response.status, data

    def chat(self, body):
        status, data = self.send("/v1/chat/completions", json.dumps(body))
        return status, json.loads(data)

    def stream(self, body, stop_after=None):
        """(seconds to the first text, [(seconds, tokens)], usage tokens); None if refused."""
        body = {**body, "stream": True, "stream_options": {"include_usage": True}}
        start = time.monotonic()
        connection, response = self.open("POST", "/v1/chat/completions", json.dumps(body))
        if response.status != 200:
            connection.close()
            return None
        marks, usage = [], 0
        for line in response:
            if not line.startswith(b"data: ") or line.startswith(b"data: [DONE]"):
                continue
            chunk = json.loads(line[6:])
            usage = (chunk.get("usage") or {}).get("completion_tokens", usage)
            if chunk["choices"] and chunk["choices"][0].get("delta", {}).get("content"):
                marks.append(time.monotonic() - start)
                if stop_after and len(marks) >= stop_after:
                    break
        connection.close()
        return marks[0] if marks else None, marks, usage


# What a server may hold more at the end than half way, and still be said to settle.
GROWTH, GROWTH_MIB, MORE_THREADS, MORE_FILES = 1.05, 32, 8, 8
# Kinds of requests, and how often each is sent.
KINDS = {"short": 5, "long": 2, "unique": 4, "logprobs": 3, "json": 1, "sampled": 2, "predicted": 1, "choices": 1, "cancelled": 3, "malformed": 3}


def figures(pid):
    """What a process holds: MiB that it allocated, threads, files."""
    with open(f"/proc/{pid}/status") as status:
        values = dict(line.split(":", 1) for line in status)
    memory = sum(int(values[name].split()[0]) for name in ("RssAnon", "VmSwap")) / 1024
    return memory, int(values["Threads"]), len(os.listdir(f"/proc/{pid}/fd"))


class Soak:
    """Mixed load on one server: what was asked, what went wrong, and how large the server was."""

    def __init__(self, args):
        self.args = args
        self.client = Client(args.urls[0], args.key, 600)
        self.rng, self.lock = random.Random(args.seed), threading.Lock()
        # The first greedy answer to each prompt, requests by kind, what went wrong, refusals.
        self.known, self.counts, self.problems, self.refused = {}, {}, [], 0
        # The server's figures as time goes on.
        self.sizes = []
        self.end = time.monotonic() + args.seconds

    def same(self, kind, prompt, text):
        """A greedy answer is what it was the first time."""
        with self.lock:
            first = self.known.setdefault((kind, prompt), text)
        return first == text, f"{kind}, {prompt!r}: {first!r} became {text!r}"

    def malformed(self, message, number):
        """A request that no server should take."""
        bad = [b"{", b"[]", b"\xff", b'{"messages": 5}', b'{"messages": [], "n": -1}',
               json.dumps({"messages": message, "temperature": "hot"}).encode(),
               json.dumps({"messages": message, "max_tokens": 0}).encode(),
               json.dumps({"messages": message, "top_logprobs": 3}).encode()][number % 8]
        status, data = self.client.send("/v1/chat/completions", bad)
        return status in (400, 429) and "error" in json.loads(data), f"malformed: {status}"

    def one(self, kind, prompt, number):
        """One request of a kind: whether all was well, and what was not."""
        if kind == "unique":
            # Nothing that was read before, and now and then much of it.
            prompt = f"{number} {self.rng.random()}: {prompt} " + " ".join(str(number + i) for i in range(number % 7 * 30))
        message = [{"role": "user", "content": prompt}]
        if kind == "malformed":
            return self.malformed(message, number)
        if kind == "cancelled":
            body = {"messages": message, "max_tokens": 400}
            if number % 2:
                body |= {"logprobs": True, "top_logprobs": 20}
            self.client.stream(body, stop_after=1 + number % 3)
            return True, ""
        tokens = {"long": 96, "json": 48, "sampled": 24, "choices": 16}.get(kind, 8)
        body = {"messages": message, "max_tokens": tokens, "temperature": 0}
        body |= {
            "json": {"response_format": {"type": "json_object"}},
            "sampled": {"temperature": 0.8, "seed": 11},
            "logprobs": {"logprobs": True, "top_logprobs": number % 21},
            "predicted": {"prediction": {"type": "content", "content": prompt * 20}},
            "choices": {"n": 3, "temperature": 0.8, "seed": 5},
        }.get(kind, {})
        status, answer = self.client.chat(body)
        if status == 429:
            with self.lock:
                self.refused += 1
            return True, ""
        if status != 200:
            return False, f"{kind}: {status} {answer}"
        return self.judged(kind, prompt, number, answer)

    def judged(self, kind, prompt, number, answer):
        """Whether an answer is what it should be, and what is wrong with it."""
        text = answer["choices"][0]["message"]["content"]
        if kind == "unique":
            return True, ""
        if kind == "choices":
            text = [choice["message"]["content"] for choice in answer["choices"]]
        if kind == "logprobs":
            logged = answer["choices"][0]["logprobs"]["content"]
            fine = all(len(t["top_logprobs"]) == number % 21 and t["logprob"] <= 1e-3 for t in logged)
            if not fine:
                return False, f"logprobs, {prompt!r}: {logged}"
        # Log probabilities and predictions do not change an answer.
        return self.same("short" if kind in ("logprobs", "predicted") else kind, prompt, text)

    def worker(self, _):
        """Asks one thing after the other until the time is over."""
        while time.monotonic() < self.end:
            with self.lock:
                kind = self.rng.choices(list(KINDS), list(KINDS.values()))[0]
                prompt, number = self.rng.choice(ASKED), self.rng.randrange(1000)
            try:
                fine, why = self.one(kind, prompt, number)
            except Exception as error:
                fine, why = False, f"{kind}: {error!r}"
            with self.lock:
                self.counts[kind] = self.counts.get(kind, 0) + 1
                if not fine:
                    self.problems.append(why)

    def watch(self):
        """Takes the server's figures until the time is over."""
        while time.monotonic() < self.end:
            self.sizes.append(figures(self.args.pid))
            time.sleep(max(0.5, self.args.seconds / 120))

    def report(self):
        """Prints what was found; whether the server settled."""
        sizes = self.sizes
        some, half = max(1, len(sizes) // 8), len(sizes) // 2
        median = lambda part: [statistics.median(values) for values in zip(*part)]
        middle, last = median(sizes[half:half + some]), median(sizes[-some:])
        growth = last[0] / middle[0]
        settled = (growth < GROWTH or last[0] - middle[0] < GROWTH_MIB) and last[1] - middle[1] <= MORE_THREADS and last[2] - middle[2] <= MORE_FILES
        print(f"{sum(self.counts.values())} requests: {self.counts}; {self.refused} of them refused as the line was full; {len(self.problems)} problems")
        for name, i, limit in (
            ("memory, MiB", 0, f"second half x{growth:.3f}; settled below x{GROWTH} or {GROWTH_MIB} MiB more"),
            ("threads", 1, f"settled within {MORE_THREADS}"),
            ("files", 2, f"settled within {MORE_FILES}"),
        ):
            print(f"{name}: {sizes[0][i]:.0f} at first, {middle[i]:.0f} half way, {last[i]:.0f} at the end, {max(s[i] for s in sizes):.0f} at most ({limit})")
        for problem in self.problems[:10]:
            print("  " + problem)
        return settled


def soak(args):
    load = Soak(args)
    watching = threading.Thread(target=load.watch)
    watching.start()
    with ThreadPoolExecutor(args.parallel) as pool:
        list(pool.map(load.worker, range(args.parallel)))
    watching.join()
    settled = load.report()
    return 0 if not load.problems and settled else 1


def compare(args):
    prompts = []
    for line in open(args.prompts):
        value = json.loads(line)
        prompts.append(value.get("question") or value.get("text") or value.get("prompt") or value["turns"][0])
    clients = [Client(url, args.key, 1200) for url in args.urls]
    found = []
    for streams in [int(s) for s in args.streams.split(",")]:
        rows = [[] for _ in clients]
        for round_ in range(args.rounds):
            asked = [prompts[(round_ * streams * args.each + i) % len(prompts)] for i in range(streams * args.each)]
            order = list(range(len(clients)))
            if round_ % 2:
                order.reverse()
            for i in order:
                def one(prompt):
                    return clients[i].stream({"model": "default", "messages": [{"role": "user", "content": prompt}],
                                              "max_tokens": args.tokens, "temperature": 0})
                start = time.monotonic()
                with ThreadPoolExecutor(streams) as pool:
                    done = [d for d in pool.map(one, asked) if d and d[0]]
                seconds = time.monotonic() - start
                first = [d[0] for d in done]
                gaps = [b - a for d in done for a, b in zip(d[1], d[1][1:])]
                rows[i].append((sum(d[2] for d in done) / seconds, first, gaps))
        print(f"{streams} streams, {args.rounds} rounds of {streams * args.each} requests, {args.tokens} tokens")
        for i, url in enumerate(args.urls):
            ratios = sorted(mine[0] / base[0] for mine, base in zip(rows[i], rows[0]))
            first = sorted(f for r in rows[i] for f in r[1])
            gaps = sorted(g for r in rows[i] for g in r[2])
            at = lambda values, q: 1e3 * values[min(len(values) - 1, int(q * len(values)))] if values else 0
            print(f"  {url:28} x{statistics.median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})  "
                  f"{statistics.median(r[0] for r in rows[i]):6.1f} tokens/s  first p50/p95 {at(first, .5):.0f}/{at(first, .95):.0f} ms  "
                  f"gap p50/p95 {at(gaps, .5):.0f}/{at(gaps, .95):.0f} ms", flush=True)
            found.append({"streams": streams, "url": url, "ratio": statistics.median(ratios),
                          "tokens_per_second": statistics.median(r[0] for r in rows[i]),
                          "first_ms": [at(first, .5), at(first, .95)], "gap_ms": [at(gaps, .5), at(gaps, .95)]})
        if args.json:
            # After each number of streams: what was measured is kept if the rest takes too long.
            with open(args.json, "w") as file:
                json.dump(found, file, indent=2)
    return 0


parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("what", choices=["soak", "compare"])
parser.add_argument("urls", nargs="+", help="servers, like http://127.0.0.1:8080")
parser.add_argument("--prompts", help="compare: JSON lines with question, text, prompt or turns")
parser.add_argument("--json", help="compare: a file for the figures, too")
parser.add_argument("--key", default=None)
parser.add_argument("--pid", type=int, help="soak: the server's process")
parser.add_argument("--seconds", type=float, default=1800)
parser.add_argument("--parallel", type=int, default=6)
parser.add_argument("--seed", type=int, default=1)
parser.add_argument("--streams", default="1,4,8,16")
parser.add_argument("--rounds", type=int, default=4)
parser.add_argument("--each", type=int, default=1, help="compare: requests per stream and round")
parser.add_argument("--tokens", type=int, default=64)
args = parser.parse_args()
sys.exit({"soak": soak, "compare": compare}[args.what](args))
