"""Pages of others stay out, and users are apart."""

import asyncio
import json
import os
import re
import shutil
import stat
import tempfile

import wire
from server import ENDLESS, Server
from wire import Connection, head

COMPLETIONS, CHAT, MODELS = "/v1/completions", "/v1/chat/completions", "/v1/models"
SMALL = {"prompt": "a", "max_tokens": 1}
ANNA, BERT, CARL = (f"secret-of-{name}-0123456789" for name in ("anna", "bert", "carl"))
# (a page's headers, statuses that are right)
FOREIGN = [
    (["Origin: https://evil.example"], {403}),
    (["Origin: null"], {403}),
    (["Origin: http://localhost.evil.example"], {403}),
    (["Origin: http://127.0.0.1.nip.io"], {403}),
    (["Origin: file://"], {403}),
    (["Sec-Fetch-Site: cross-site"], {403}),
    (["Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: no-cors", "Content-Type: text/plain"], {403, 415}),
    (["Origin: https://evil.example", "Content-Type: text/plain;charset=UTF-8"], {403, 415}),
    (["Content-Type: text/plain"], {403, 415}),
    # Without a trace of a browser a form is what `curl -d` sends.
    (["Content-Type: application/x-www-form-urlencoded", "Sec-Fetch-Site: cross-site"], {403, 415}),
    (["Content-Type: application/x-www-form-urlencoded", "Origin: null"], {403, 415}),
    (["Content-Type: application/x-www-form-urlencoded", "Referer: https://evil.example/"], {403, 415}),
    (["Content-Type:", "Referer: https://evil.example/"], {403, 415}),
    (["Content-Type: multipart/form-data; boundary=x"], {403, 415}),
    (["Content-Type: text/plain; x=application/json"], {403, 415}),
]


async def cross_site(report, binary):
    async with Server(binary, "--no-key", "--parallel", 2, "--queue", 4) as server:
        port = server.address[1]
        for path, body in ((COMPLETIONS, SMALL), (CHAT, {"messages": [{"role": "user", "content": "a"}], "max_tokens": 1}),
                           ("/tokenize", {"content": "a"}), ("/detokenize", {"tokens": [65]})):
            got = [(h, await server.status("POST", path, body, headers=h)) for h, _ in FOREIGN]
            wrong = [f"{h}: {s}" for (h, s), (_, right) in zip(got, FOREIGN) if s not in right]
            report.check(f"cross-site POST to {path}: refused", not wrong, "; ".join(wrong[:3]) or f"{len(got)} ways")
        own = [
            [],
            [f"Origin: http://localhost:{port}", "Sec-Fetch-Site: same-origin"],
            ["Sec-Fetch-Site: none"],
            ["Content-Type: application/json; charset=utf-8"],
            ["Content-Type: APPLICATION/JSON"],
            ["Content-Type: application/x-www-form-urlencoded"],
        ]
        got = [await server.status("POST", COMPLETIONS, SMALL, headers=h, host=f"localhost:{port}") for h in own]
        report.check("requests of one's own: pass", got == [200] * len(own), str(got))
        foreign = ["Origin: https://evil.example", "Sec-Fetch-Site: cross-site"]
        for path in ("/live", MODELS, "/metrics"):
            got = await server.status("GET", path, headers=foreign, timeout=3)
            report.check(f"cross-site GET {path}: refused", got == 403, f"status {got}")
        got = await server.status("OPTIONS", COMPLETIONS, headers=[*foreign, "Access-Control-Request-Method: POST"])
        report.check("a question by OPTIONS: not allowed", got in (403, 405), f"status {got}")
        answer = await server.ask("POST", COMPLETIONS, SMALL, host="evil.example")
        message = answer.json().get("error", {}).get("message", "")
        report.check("Host foreign: refused, the remedy named", answer.status == 403 and "--allow-host" in message, message)
        got = await server.status("POST", COMPLETIONS, SMALL, host="card.internal:8080")
        report.check("Host of a container without --allow-host: refused", got == 403, f"status {got}")
        headers = (await server.ask("GET", "/health")).headers
        report.check("answers are not sniffed", headers.get("x-content-type-options") == "nosniff", str(headers))
    async with Server(binary, "--no-key", "--allow-host", "card.internal", "--parallel", 2, "--queue", 4) as server:
        hosts = ("card.internal", "card.internal:8080", "CARD.internal", "localhost", "evil.example", "card.internal.evil.example")
        got = [await server.status("POST", COMPLETIONS, SMALL, host=h) for h in hosts]
        report.check("--allow-host: that name passes, others do not", got == [200, 200, 200, 200, 403, 403], str(got))
        origin = [await server.status("POST", COMPLETIONS, SMALL, host="card.internal", headers=[f"Origin: http://{o}"]) for o in ("card.internal", "evil.example")]
        report.check("--allow-host: its own page passes, others do not", origin == [200, 403], str(origin))


def records(said):
    """The events of `/live` in the bytes of a chunked answer."""
    data, text = bytes(said), b""
    while b"\r\n" in data:
        size, data = data.split(b"\r\n", 1)
        try:
            size = int(size.split(b";")[0], 16)
        except ValueError:
            break
        text, data = text + data[:size], data[size + 2 :]
    found = []
    for line in text.split(b"\n"):
        if line.startswith(b"data:"):
            try:
                found.append(json.loads(line[5:]))
            except ValueError:
                # The last one may be half there.
                pass
    return found


async def listen(server, key):
    """What `/live` says to `key`, as it comes; the connection is left to the caller."""
    connection = await Connection.open(server.address)
    await connection.send(head("GET", "/live", [f"Authorization: Bearer {key}"]))
    status, _ = await connection.head()
    said = bytearray(connection.held)

    async def read():
        connection.held = b""
        while await connection.more():
            said.extend(connection.held)
            connection.held = b""

    return connection, status, said, asyncio.ensure_future(read())


async def identity(report, binary):
    folder = tempfile.mkdtemp()
    audit = os.path.join(folder, "audit.jsonl")
    keys = ["--key", f"anna={ANNA}", "--key", f"bert={BERT}", "--key", f"carl={CARL}"]
    flags = [*keys, "--parallel", 4, "--queue", 8, "--ms-per-forward", 2, "--audit", audit]
    async with Server(binary, *flags) as server:
        bearer = lambda key: [f"Authorization: Bearer {key}"]

        async def ask(key, body, path=COMPLETIONS, **more):
            return await server.ask("POST", path, body, headers=bearer(key), **more)

        refused = [[], bearer(""), bearer("wrong"), bearer("anna"), bearer(ANNA[:-1]), bearer(ANNA + "x"), bearer(f"{ANNA},{BERT}"),
                   ["Authorization: Basic " + ANNA], ["X-Api-Key: wrong"], ["X-Api-Key:"]]
        paths = [("POST", CHAT), ("POST", COMPLETIONS), ("POST", "/tokenize"), ("POST", "/detokenize"), ("GET", MODELS), ("GET", "/live"),
                 ("GET", "/metrics"), ("GET", "/nothing"), ("GET", "/openapi.json"), ("PUT", MODELS)]
        wrong = []
        for method, path in paths:
            for headers in refused if path == COMPLETIONS else refused[:3]:
                got = await server.status(method, path, SMALL if method == "POST" else None, headers=headers, timeout=5)
                # What describes the paths may be open; what answers may not.
                if got != 401 and path != "/openapi.json":
                    wrong.append(f"{method} {path} {headers}: {got}")
        report.check("no key or a wrong one: 401 everywhere", not wrong, "; ".join(wrong[:4]) or f"{len(paths)} paths")
        code, _ = await server.health()
        report.check("/health without a key", code == 200, f"status {code}")
        ways = [bearer(ANNA), [f"authorization: bearer {ANNA}"], [f"Authorization: BEARER {ANNA}"], [f"X-Api-Key: {ANNA}"], bearer(BERT)]
        got = [await server.status("POST", COMPLETIONS, SMALL, headers=h) for h in ways]
        report.check("a key: passes in every form", got == [200] * len(ways), str(got))
        # Twice as large as allowed, without a key: refused by the head.
        connection = await Connection.open(server.address)
        await connection.send(head("POST", COMPLETIONS, [], 1 << 30))
        closed = await connection.answer(5)
        connection.close()
        report.check("a body of 1 GiB without a key: refused by the head", closed.status in (401, 413), f"status {closed.status}")

        # /live: one's own rounds, and nobody else's.
        mark = "zebra-of-anna-47110815"
        for_anna, status_a, said_a, reading_a = await listen(server, ANNA)
        for_bert, status_b, said_b, reading_b = await listen(server, BERT)
        body = {"prompt": f"{mark} " * 4, "max_tokens": 24, "prediction": {"content": mark}, "seed": 1}
        answer = await ask(ANNA, body)
        name = re.sub(r"^(cmpl|chatcmpl)-", "", answer.json().get("id", "?"))
        text = answer.json()["choices"][0]["text"]
        theirs = (await ask(BERT, {**SMALL, "max_tokens": 4})).json().get("id", "?")
        # Anna hears of hers: then Bert would have heard of it as well.
        heard = await server.until(lambda: any(r.get("kind") == "end" for r in records(said_a)), 5)
        await server.until(lambda: any(r.get("kind") == "end" for r in records(said_b)), 5)
        mine, others = ({r["request"] for r in records(said) if "request" in r} for said in (said_a, said_b))
        fine = heard is not None and status_a == 200 and mine == {name}
        report.check("/live of one's own: the request is shown, and no other", fine, f"{name} in {mine}")
        fine = status_b == 200 and len(others) == 1 and theirs.endswith(*others)
        report.check("/live of another: only requests of that one", fine, f"{theirs} in {others}")
        # Tokens are single bytes; candidates of a round follow each other.
        shown = "".join(str(n.get("token")) for r in records(said_b) for n in r.get("nodes", []))
        rounds = [r for r in records(said_b) if r.get("kind") == "round"]
        shown += "".join(str(t) for r in rounds for t in r["tokens"])
        raw = said_b.decode(errors="replace")
        leaks = [w for w in (mark, mark[:12], name) if w in shown or w in raw]
        leaks += ["the answer"] if len(text) > 8 and (text in shown or text in raw) else []
        report.check("/live of another: no text of hers", not leaks, f"{leaks or 'nothing'} in {len(said_b)} bytes")
        for task, connection in ((reading_a, for_anna), (reading_b, for_bert)):
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            connection.close()

        # The prefix cache.
        async def cached(key, text, path=COMPLETIONS, **more):
            body = {"prompt": text, "max_tokens": 2, "temperature": 0, **more}
            if path == CHAT:
                body = {"messages": [{"role": "user", "content": text}], "max_tokens": 2, **more}
            answer = await ask(key, body, path)
            return answer.json()["usage"]["prompt_tokens_details"]["cached_tokens"]

        for path in (COMPLETIONS, CHAT):
            text = f"quite a prompt of anna for {path} " * 8
            first, again = await cached(ANNA, text, path), await cached(ANNA, text, path)
            other = await cached(BERT, text, path)
            own = await cached(BERT, text, path)
            fine = again > first and other == 0 and own > 0
            words = f"first {first}, again {again}, by another {other}, by that one again {own}"
            report.check(f"the prefix cache is one's own at {path}", fine, words)
        # A prompt that another's running generation has just read.
        text = "running still, a prompt of anna " * 8
        running = asyncio.ensure_future(ask(ANNA, {"prompt": text, "max_tokens": 400, **ENDLESS}))
        await asyncio.sleep(0.2)
        still = not running.done()
        other, own = await cached(BERT, text), await cached(ANNA, text)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        report.check("a prompt that still runs is one's own", other == 0, f"by another {other}, by its owner {own}, still running: {still}")
        await server.idle(20)

        # What the target put right in another's answers is no candidate here. Carl asked
        # nothing before, so what is known to him is from her.
        text = "what is corrected for anna " * 6
        for _ in range(3):
            await ask(ANNA, {"prompt": text, "max_tokens": 24, "temperature": 0})
        connection, _, said, reading = await listen(server, CARL)
        await ask(CARL, {"prompt": text, "max_tokens": 24, "temperature": 0})
        await server.until(lambda: any(r.get("kind") == "end" for r in records(said)), 5)
        rounds = [r for r in records(said) if r.get("kind") == "round"]
        nodes = rounds[0].get("nodes", []) if rounds else []
        learned = [n for n in nodes if any("correct" in s for s in n.get("sources", []))]
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)
        connection.close()
        words = f"{len(rounds)} rounds, {len(learned)} of {len(nodes)} candidates of the first are from another's answers"
        report.check("the correction cache is one's own", rounds and not learned, words)

        def logged():
            with open(audit, encoding="utf-8") as log:
                text = log.read()
            return text, *(len(re.findall(rf'kind\\*":\\*"{kind}\\*"', text)) for kind in ("begin", "end"))

        await server.idle(10)
        await server.until(lambda: logged()[2] >= logged()[1] > 0, 5)
        log, begun, ended = logged()
    mode = stat.S_IMODE(os.stat(audit).st_mode)
    report.check("the audit log is one's own", mode == 0o600, oct(mode))
    report.check("the audit log names who asked", all(re.search(rf'who\\*":\\*"{name}\\*"', log) for name in ("anna", "bert", "carl")), f"{log.count(chr(10))} records")
    report.check("the audit log has no secret", not any(key in log for key in (ANNA, BERT, CARL)))
    report.check("every request in the audit log has its end", begun > 0 and ended >= begun, f"{begun} began, {ended} ended")
    shutil.rmtree(folder)
    async with Server(binary, "--key", f"anna={ANNA}", "--key", f"bert={BERT}", "--share-caches", "--parallel", 2, "--queue", 4) as server:
        text = "a prompt that is shared " * 8
        bearer = lambda key: [f"Authorization: Bearer {key}"]

        async def reused():
            """Tokens of prompts that were not read again, for all."""
            metrics = (await server.ask("GET", "/metrics", headers=bearer(ANNA))).body.decode()
            return float(re.search(r"^card_prompt_tokens_reused_total (\S+)", metrics, re.M)[1])

        told, counts = [], [await reused()]
        for key in (ANNA, BERT):
            answer = await server.ask("POST", COMPLETIONS, {"prompt": text, "max_tokens": 1}, headers=bearer(key))
            told.append(answer.json()["usage"].get("prompt_tokens_details", {}).get("cached_tokens", 0))
            await server.idle(5)
            counts.append(await reused())
        report.check("--share-caches: a prompt is read once for all", counts[2] > counts[1], f"reused: {counts}")
        report.check("--share-caches: who sent it before is not told", told == [0, 0], f"cached_tokens: {told}")


async def run(report, binary, _short, _rng):
    await cross_site(report, binary)
    try:
        await identity(report, binary)
    except (wire.Gone, KeyError, ValueError) as error:
        report.check("identity", False, repr(error))
