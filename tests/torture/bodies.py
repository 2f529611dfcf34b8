"""The largest bodies there may be, of everything, alone and 200 at a time."""

import asyncio
import json
import time

import wire
from server import Server, Watch, quantile

LARGEST = 4 << 20
PARALLEL, QUEUE = 2, 8
CHAT, COMPLETIONS = "/v1/chat/completions", "/v1/completions"
MESSAGES = b'"messages":[{"role":"user","content":"a"}],"max_tokens":1'

# What a request that was let in may hold beside the KV cache, and what a connection may that
# was not: HTTP's read buffer and the kernel's part of this process, in MiB.
PER_REQUEST, PER_CONNECTION = 64, 1
# What the allocator may keep after a load, and how much more after each further one, in MiB.
KEPT, LEAKED = 96, 32
# Seconds for the largest body alone. What is linear takes a part of one; what is quadratic
# takes minutes.
ALONE = 10


def full(before, unit, after, joined=b","):
    """A body as large as may be: `unit`, a value or a function of its number, again and again."""
    room = LARGEST - len(before) - len(after)
    if isinstance(unit, bytes):
        count = (room + len(joined)) // (len(unit) + len(joined))
        return before + joined.join([unit] * count) + after
    parts, size = [], 0
    while True:
        part = unit(len(parts))
        size += len(part) + len(joined)
        if size > room:
            return before + joined.join(parts) + after
        parts.append(part)


def text(before, unit, after):
    return full(before, unit, after, b"")


def largest():
    """Name, path and body; each just below the limit."""
    key = lambda value: lambda i: b'"k%d":%s' % (i, value)
    prompt = b'{"max_tokens":1,"prompt":'
    chat = b"{" + MESSAGES
    yield "unknown keys and a wrong field", CHAT, full(b"{", key(b"0"), b',"temperature":"x",' + MESSAGES + b"}")
    yield "unknown keys and two wrong fields", CHAT, full(b"{", key(b"0"), b',"temperature":"x","n":"y",' + MESSAGES + b"}")
    yield "unknown keys", CHAT, full(b"{", key(b"0"), b"," + MESSAGES + b"}")
    yield "unknown keys in a message", CHAT, full(b'{"messages":[{"role":"user","content":"a",', key(b"0"), b"}]}")
    yield "one key twice and again", CHAT, full(chat + b",", b'"temperature":1', b"}")
    yield "a key of 4 MiB", CHAT, text(b'{"', b"a", b'":0,' + MESSAGES + b"}")
    yield "a prompt without spaces", COMPLETIONS, text(prompt + b'"', b"A", b'"}')
    yield "a prompt of spaces", COMPLETIONS, text(prompt + b'"', b" ", b'"}')
    yield "a prompt of line breaks", COMPLETIONS, text(prompt + b'"', b"\\n", b'"}')
    yield "a prompt of escapes", COMPLETIONS, text(prompt + b'"', b"\\u0041", b'"}')
    yield "a prompt of marks that combine", COMPLETIONS, text(prompt + b'"a', "\u0301".encode(), b'"}')
    yield "a prompt of special tokens", COMPLETIONS, text(prompt + b'"', b"<|im_end|>", b'"}')
    yield "a prompt of words, echoed", COMPLETIONS, text(b'{"echo":true,"max_tokens":1,"prompt":"', b"word ", b'"}')
    yield "a prompt of tokens", COMPLETIONS, full(prompt + b"[", b"65", b"]}")
    yield "a prompt of foreign tokens, echoed", COMPLETIONS, full(b'{"echo":true,"prompt":[', b"99999999", b"]}")
    yield "many prompts", COMPLETIONS, full(prompt + b"[", b'"a"', b"]}")
    yield "many prompts of tokens", COMPLETIONS, full(prompt + b"[", b"[65]", b"]}")
    yield "a message without spaces", CHAT, text(b'{"messages":[{"role":"user","content":"', b"A", b'"}]}')
    yield "many messages", CHAT, full(b'{"messages":[', b'{"role":"user","content":"a"}', b"]}")
    yield "many parts of a message", CHAT, full(b'{"messages":[{"role":"user","content":[', b'{"type":"text","text":"a"}', b"]}]}")
    yield "a role of 4 MiB", CHAT, text(b'{"messages":[{"content":"a","role":"', b"r", b'"}]}')
    yield "a model of 4 MiB", CHAT, text(chat + b',"model":"', b"m", b'"}')
    yield "calls in messages", CHAT, full(b'{"messages":[{"role":"assistant","tool_calls":[', b'{"function":{"arguments":"{}"}}', b"]}]}")
    yield "logit_bias", COMPLETIONS, full(b'{"prompt":"a","logit_bias":{', lambda i: b'"%d":1' % i, b"}}")
    yield "logit_bias of one token", COMPLETIONS, full(b'{"prompt":"a","logit_bias":{', b'"65":1', b"}}")
    yield "stop strings", COMPLETIONS, full(b'{"prompt":"a","stop":[', b'"a"', b"]}")
    yield "long stop strings", COMPLETIONS, b'{"max_tokens":1,"prompt":"a","stop":[' + b",".join(b'"%s"' % (b"a" * 262000) for _ in range(15)) + b"]}"
    yield "long stop strings, 256 choices", COMPLETIONS, b'{"max_tokens":1,"n":16,"prompt":["a"' + b',"a"' * 15 + b'],"stop":[' + b",".join(b'"%s"' % (b"a" * 262000) for _ in range(15)) + b"]}"
    yield "a prediction", CHAT, text(chat + b',"prediction":{"type":"content","content":"', b"1", b'"}}')
    yield "a prediction, 64 choices", COMPLETIONS, text(b'{"max_tokens":1,"n":16,"prompt":["a","a","a","a"],"prediction":{"content":"', b"1", b'"}}')
    yield "a prediction, 256 choices", COMPLETIONS, text(b'{"max_tokens":1,"n":16,"prompt":["a"' + b',"a"' * 15 + b'],"prediction":{"content":"', b"1", b'"}}')
    yield "a prediction of parts", CHAT, full(chat + b',"prediction":{"type":"content","content":[', b'{"type":"text","text":"1"}', b"]}}")
    yield "tools", CHAT, full(chat + b',"tools":[', lambda i: b'{"type":"function","function":{"name":"f%d"}}' % i, b"]}")
    yield "tools, one of which must be called", CHAT, full(chat + b',"tool_choice":"required","tools":[', lambda i: b'{"type":"function","function":{"name":"f%d"}}' % i, b"]}")
    yield "a tool_choice of 4 MiB", CHAT, text(chat + b',"tools":[{"type":"function","function":{"name":"f"}}],"tool_choice":"', b"a", b'"}')
    yield "an enum", CHAT, full(chat + schema_before, lambda i: b'"%d"' % i, b"]}}}}", b",")
    yield "properties", CHAT, full(chat + schema_properties, lambda i: b'"p%d":{}' % i, b"}}}}}")
    yield "a pattern of 4 MiB", CHAT, text(chat + schema_pattern, b"a|", b'a"}}}}')
    yield "open brackets", CHAT, b"[" * LARGEST
    yield "open objects", CHAT, text(b"", b'{"a":', b"")
    yield "deep content", CHAT, text(b'{"messages":[{"role":"user","content":', b"[", b"")
    yield "a number of 4 MiB", CHAT, text(chat + b',"temperature":', b"1", b"}")
    yield "not UTF-8", CHAT, b"\xff" * LARGEST
    yield "zeros", CHAT, bytes(LARGEST)
    yield "a word to tokenize", "/tokenize", text(b'{"content":"', b"A", b'"}')
    yield "words to tokenize", "/tokenize", text(b'{"content":"', b"word ", b'"}')
    yield "special tokens to tokenize", "/tokenize", text(b'{"content":"', b"<|im_end|>", b'"}')
    yield "keys to tokenize", "/tokenize", full(b'{"content":"a",', key(b"[]"), b"}")
    yield "tokens to detokenize", "/detokenize", full(b'{"tokens":[', b"65", b"]}")
    yield "foreign tokens to detokenize", "/detokenize", full(b'{"tokens":[', b"99999999", b"]}")
    yield "lists to detokenize", "/detokenize", full(b'{"tokens":[', b"[]", b"]}")


before_schema = b',"response_format":{"type":"json_schema","json_schema":{"name":"s","schema":'
schema_before = before_schema + b'{"enum":['
schema_properties = before_schema + b'{"type":"object","properties":{'
schema_pattern = before_schema + b'{"type":"string","pattern":"'


def schemas():
    """Name and schema: small to write, large to enforce."""
    string = lambda **more: {"type": "string", **more}
    nested = {"type": "integer"}
    for _ in range(50):
        nested = {"anyOf": [nested, {"type": "string"}]}
    yield "anyOf within anyOf", nested
    wide = {"anyOf": [{"type": "object", "properties": {f"p{i}": {"anyOf": [string(), {"type": "integer"}]}}} for i in range(5000)]}
    yield "a wide anyOf", wide
    for word in ("anyOf", "allOf", "oneOf"):
        laughs = {f"a{i}": {word: [{"$ref": f"#/$defs/a{i + 1}"}] * 2} for i in range(40)}
        yield f"{word} of doubles", {"$defs": {**laughs, "a40": string()}, "$ref": "#/$defs/a0"}
    doubles = {f"a{i}": {"type": "object", "properties": {"l": {"$ref": f"#/$defs/a{i + 1}"}, "r": {"$ref": f"#/$defs/a{i + 1}"}}} for i in range(60)}
    yield "objects of doubles", {"$defs": {**doubles, "a60": string()}, "$ref": "#/$defs/a0"}
    yield "a reference to itself", {"$defs": {"a": {"$ref": "#/$defs/a"}}, "$ref": "#/$defs/a"}
    yield "a reference elsewhere", {"$ref": "http://127.0.0.1:9/schema"}
    yield "a reference to a file", {"$ref": "file:///etc/passwd"}
    yield "maxLength", string(maxLength=10**9)
    yield "minLength", string(minLength=10**9)
    yield "minItems", {"type": "array", "items": {"type": "array", "minItems": 10**6, "items": string(minLength=10**6)}, "minItems": 10**6}
    yield "maxItems", {"type": "array", "maxItems": 2**63 - 1}
    for pattern in ("(a{1,1000}){1,1000}", "((a{1,100}){1,100}){1,100}", "(a+)+$", "(a|aa){500}", "a{1000000}", ".{0,60000}x.{0,60000}",
                    "^(?=a)b", "(a)\\1", "[", "(" * 5000, "(?:" * 3000 + "a" + ")" * 3000, "\\p{L}{1,500}\\p{N}{1,500}", "a|" * 20000 + "a"):
        yield f"pattern {pattern[:24]}", string(pattern=pattern)
    yield "many patterns", {"type": "object", "patternProperties": {f"^(a{{1,100}}){{1,{i + 1}}}$": {} for i in range(200)}}
    yield "patterns at once", {"allOf": [string(pattern=f".*{i}.*") for i in range(40)]}
    yield "an enum of long words", {"enum": ["a" * 1000 + str(i) for i in range(2000)]}
    yield "required without end", {"type": "object", "required": [f"p{i}" for i in range(20000)]}
    yield "a range of integers", {"type": "integer", "minimum": -(10**300), "maximum": 10**300}
    yield "a range of numbers", {"type": "number", "minimum": 1e-300, "maximum": 1e300, "multipleOf": 1e-9}
    yield "multiples", {"allOf": [{"type": "integer", "multipleOf": p} for p in (9973, 9967, 9949, 9941, 9931)]}
    yield "white space of its own", {"type": "object", "x-guidance": {"whitespace_pattern": "(a{1,1000}){1,1000}"}}
    yield "a format", string(format="ipv6", pattern="(a{1,1000}){1,1000}")
    yield "not", {"not": {"not": {"not": string(pattern="(a|b)*a(a|b){20}")}}}
    yield "a constant", {"const": {"a": ["b" * 100000] * 20}}
    yield "nothing", False


def bombs():
    """Name, path and body: work in place of length."""
    for name, schema in schemas():
        yield f"schema, {name}", CHAT, json.dumps(
            {"messages": [{"role": "user", "content": "a"}], "max_tokens": 2, "n": 4,
             "response_format": {"type": "json_schema", "json_schema": {"name": "s", "schema": schema}}}).encode()
    deep = {"type": "string", "pattern": "(a{1,1000}){1,1000}"}
    tools = [{"type": "function", "function": {"name": f"f{i}", "parameters": deep}} for i in range(16)]
    yield "tools of patterns", CHAT, json.dumps(
        {"messages": [{"role": "user", "content": "a"}], "max_tokens": 2, "tools": tools, "tool_choice": "required"}).encode()
    for name in ('"', "</tool_call>", "%json {}", "\n", "\\", "a" * 100000, ""):
        tools = [{"type": "function", "function": {"name": name}}]
        yield f"a tool called {name[:16]!r}", CHAT, json.dumps(
            {"messages": [{"role": "user", "content": "a"}], "max_tokens": 2, "tools": tools, "tool_choice": "required"}).encode()


class Tally:
    """What came of many requests."""

    def __init__(self):
        self.statuses, self.longest, self.large, self.slowest = {}, 0.0, [], ""

    def took(self, name, status, seconds, answer):
        self.statuses[status] = self.statuses.get(status, 0) + 1
        if seconds > self.longest:
            self.longest, self.slowest = seconds, name
        if answer and answer.status >= 400 and len(answer.body) > 16384:
            self.large.append(name)

    def __str__(self):
        words = [f"{'no answer' if s == 0 else s}: {n}" for s, n in sorted(self.statuses.items())]
        return f"{', '.join(words)}; longest {self.longest:.1f} s ({self.slowest})"


async def one(server, name, path, body, tally, timeout):
    start, answer = time.monotonic(), None
    try:
        answer = await server.ask("POST", path, body, timeout=timeout)
    except (wire.Gone, OSError, TimeoutError):
        pass
    seconds = time.monotonic() - start
    tally.took(name, answer.status if answer else 0, seconds, answer)
    return answer, seconds


async def baseline(server, report):
    async with Watch(server) as watch:
        await asyncio.sleep(3)
    report.note("unloaded", str(watch))
    return quantile(watch.times, 0.99)


def check_watch(report, name, watch, unloaded):
    """/health waits for at most 50 ms more than what this machine does anyway: five times
    what it takes unloaded, and what the asking process waited for a processor."""
    most = 50 + 5 * unloaded + max(watch.late, default=0)
    usual = 50 + 5 * unloaded + quantile(watch.late, 0.99)
    fine = watch.times and not watch.failed and max(watch.times, default=0) <= most and quantile(watch.times, 0.99) <= usual
    report.check(f"{name}: /health answers", fine, f"{watch}; at most {usual:.0f} (p99) and {most:.0f} (max), {watch.failed} failed")


async def alone(server, report, cases, unloaded, timeout):
    """One at a time: each in time, by a small error or an answer, within its memory."""
    before = server.figures()
    tally, wrong, named, held = Tally(), [], 0, []
    async with Watch(server) as watch:
        for name, path, body in cases:
            server.reset_peak()
            at_first = server.resident()
            answer, seconds = await one(server, name, path, body, tally, timeout)
            status = answer.status if answer else 0
            if not 200 <= status < 500 or seconds > timeout:
                wrong.append(f"{name}: {status or 'no answer'} after {seconds:.1f} s")
            if name.startswith("unknown keys and"):
                named += answer is not None and answer.param() in ("temperature", "n")
            if not server.alive():
                wrong.append(f"{name}: the server ended")
                break
            held.append((server.resident("VmHWM") - at_first, name))
    report.check(f"{len(cases)} alone: each answered within {timeout} s", not wrong, str(tally))
    for line in wrong:
        report.note("", line)
    report.check("an error is small, whatever it is about", not tally.large, ", ".join(tally.large[:5]) or "none above 16 KiB")
    held.sort(reverse=True)
    words = ", ".join(f"{n} {mib:.0f} MiB" for mib, n in held[:3])
    report.check(f"alone: one request holds at most {PER_REQUEST} MiB", not held or held[0][0] <= PER_REQUEST, words)
    report.note("alone", f"{before} before, {watch.most} at most")
    check_watch(report, "alone", watch, unloaded)
    return named


async def flood(server, report, name, cases, unloaded, at_once, first=None):
    """All at once: who does not fit is told so, nobody else notices."""
    before, tally = server.figures(), Tally()
    async with Watch(server) as watch:
        await asyncio.gather(*(one(server, *cases[i % len(cases)], tally, 60) for i in range(at_once)))
    idle = await server.idle(20)
    bad = sum(n for s, n in tally.statuses.items() if s >= 500 and s not in (503, 504))
    lost = tally.statuses.get(0, 0)
    fine = server.alive() and not bad and lost <= at_once // 10 and idle is not None
    report.check(f"{name}: answered or refused", fine, str(tally))
    check_watch(report, name, watch, unloaded)
    most = before.memory + PER_REQUEST * (PARALLEL + QUEUE) + PER_CONNECTION * at_once
    fine = watch.most.memory <= most
    report.check(f"{name}: memory while it runs", fine, f"{before} before, {watch.most} at most (allowed: {most:.0f} MiB)")
    base = first or before
    files = await server.until(lambda: server.figures().files <= base.files + 2, 10)
    # The allocator gives back what it can; threads that wait for work end after 10 s.
    await server.until(lambda: server.figures().memory <= base.memory + KEPT, 5)
    after = server.figures()
    fine = files is not None and after.memory <= base.memory + KEPT
    report.check(f"{name}: given back", fine, f"{after} after (allowed: {base.memory + KEPT:.0f} MiB, {base.files + 2} files)")
    return after


async def run(report, binary, short, rng):
    flags = ["--no-key", "--parallel", PARALLEL, "--queue", QUEUE, "--request-timeout", 30, "--body-timeout", 20, "--idle-timeout", 20]
    async with Server(binary, *flags) as server:
        # The first grammar reads the whole vocabulary, which stays.
        first = json.dumps({"messages": [{"role": "user", "content": "a"}], "max_tokens": 1, "response_format": {"type": "json_object"}})
        await server.status("POST", CHAT, first.encode())
        start = server.figures()
        unloaded = await baseline(server, report)
        large, heavy = list(largest()), list(bombs())
        named = await alone(server, report, large, unloaded, ALONE)
        report.check("the wrong field is named among all the others", named == 2, f"{named} of 2")
        await alone(server, report, heavy, unloaded, ALONE)
        if not server.alive():
            report.check("4 MiB of everything: the server lives", False, server.said()[-300:])
            return
        everything = large + heavy
        rng.shuffle(everything)
        after = await flood(server, report, "200 of everything", everything, unloaded, 200)
        if not short:
            for name, path, body in large:
                await flood(server, report, f"200 x {name}", [(name, path, body)], unloaded, 200, after)
            for round_ in range(5):
                rng.shuffle(everything)
                now = await flood(server, report, f"200 of everything, again {round_ + 1}", everything, unloaded, 200, after)
            report.check("again and again: memory does not grow", now.memory <= after.memory + LEAKED, f"{after} after the first, {now} after the last")
        got = await server.status("POST", COMPLETIONS, {"prompt": "a", "max_tokens": 1})
        report.check("4 MiB of everything: it serves as before", got == 200, f"status {got}; {start} at first, {server.figures()} now")
