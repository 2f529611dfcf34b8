"""Connections that are slow, false, silent, many, or not HTTP at all."""

import asyncio
import json
import random
import ssl
import struct
import time

import wire
from server import ENDLESS, Server
from wire import Connection, head

# What the server is started with, in seconds. The head of a request has the time of an idle
# connection.
IDLE, BODY, STALLED = 2, 2, 3
# What a machine with two busy cores may add.
SLACK = 4
MODELS, CHAT, COMPLETIONS = "/v1/models", "/v1/chat/completions", "/v1/completions"
SMALL = {"prompt": "a", "max_tokens": 1}


async def drip(connection, data, every, seconds):
    """Sends `data` a byte at a time; until when it could, in seconds."""
    start = time.monotonic()
    for byte in data:
        if time.monotonic() - start > seconds:
            break
        try:
            await connection.send(bytes([byte]))
        except OSError:
            break
        await asyncio.sleep(every)
    return time.monotonic() - start


async def dripped(server, before, data, every, seconds):
    """Sends `before` at once and `data` slowly; when the server closed (or `None`), and what
    status it gave first."""
    connection = await Connection.open(server.address)
    await connection.send(before)
    slowly = asyncio.ensure_future(drip(connection, data, every, seconds))
    closed = await connection.closed(seconds)
    slowly.cancel()
    await asyncio.gather(slowly, return_exceptions=True)
    connection.close()
    return closed, connection.status()


def shown(closed):
    return "still open" if closed is None else f"closed after {closed:.1f} s"


async def slow_head(server, report):
    data = head("GET", MODELS, [f"X-{i}: {'a' * 20}" for i in range(40)])
    most = IDLE + SLACK
    closed, status = await dripped(server, b"", data, 0.3, most + 5)
    fine = closed is not None and closed <= most and status in (0, 408)
    report.check("slow head: closed in time", fine, f"{shown(closed)} (at most {most} s), status {status}")


async def slow_body(server, report):
    most = BODY + SLACK
    body = json.dumps({**SMALL, "prompt": "a" * 200}).encode()
    closed, status = await dripped(server, head("POST", COMPLETIONS, [], len(body)), body, 0.3, most + 5)
    fine = closed is not None and closed <= most and status in (0, 408)
    report.check("slow body: 408 or closed in time", fine, f"{shown(closed)} (at most {most} s), status {status}")


async def no_body(server, report):
    """The body that was promised never comes; every path that takes one."""
    most = BODY + SLACK
    for path in (CHAT, COMPLETIONS, "/tokenize", "/detokenize"):
        closed, status = await dripped(server, head("POST", path, [], 1000), b"", 1, most + 5)
        fine = closed is not None and closed <= most and status < 500
        report.check(f"no body at {path}: 408 or closed in time", fine, f"{shown(closed)}, status {status}")


async def endless_chunks(server, report):
    most = BODY + SLACK
    before = head("POST", COMPLETIONS, ["Transfer-Encoding: chunked", "Content-Type: application/json"])
    closed, status = await dripped(server, before, b"1\r\n \r\n" * 1000, 0.05, most + 5)
    fine = closed is not None and closed <= most and status in (0, 408)
    report.check("chunks that never end: 408 or closed in time", fine, f"{shown(closed)}, status {status}")


async def idle_after_an_answer(server, report):
    connection = await Connection.open(server.address)
    await connection.send(head("GET", "/health"))
    await connection.answer(10)
    closed = await connection.closed(IDLE + SLACK + 5)
    connection.close()
    fine = closed is not None and closed <= IDLE + SLACK
    report.check("idle after an answer: closed in time", fine, shown(closed))


async def half_closed(server, report):
    statuses = []
    for method, path, body in (("GET", "/health", None), ("POST", COMPLETIONS, json.dumps(SMALL).encode())):
        connection = await Connection.open(server.address)
        await connection.send(head(method, path, [], None if body is None else len(body)) + (body or b""))
        connection.half_close()
        closed = await connection.closed(IDLE + SLACK)
        statuses.append(connection.status())
        connection.close()
        # A client that has closed its side may be taken for gone: no answer is an answer too.
        fine = closed is not None and connection.status() in (0, 200)
        report.check(f"half-closed {method} {path}: ends", fine, f"{shown(closed)}, status {statuses[-1]}")
    connection = await Connection.open(server.address)
    await connection.send(head("POST", COMPLETIONS, [], 1000) + b'{"prompt":')
    connection.half_close()
    closed = await connection.closed(BODY + SLACK)
    connection.close()
    fine = closed is not None and connection.status() < 500
    report.check("half-closed within a body: ends", fine, f"{shown(closed)}, status {connection.status()}")


async def pipelined(server, report):
    connection = await Connection.open(server.address)
    paths = ["/health", "/nothing", MODELS, "/v1/models/none", "/health", "/nothing", MODELS, "/health", "/nothing", MODELS]
    wanted = [200, 404, 200, 404, 200, 404, 200, 200, 404, 200]
    await connection.send(b"".join(head("GET", p) for p in paths))
    got = []
    try:
        for _ in paths:
            got.append((await connection.answer(10)).status)
    except (wire.Gone, TimeoutError):
        pass
    connection.close()
    report.check("ten requests in one write: answered in order", got == wanted, str(got))
    # Without end and without reading: what is unread must not be kept without bound.
    connection = await Connection.open(server.address, receive_buffer=4096)
    sent, before = 0, server.figures()
    try:
        async with asyncio.timeout(IDLE + SLACK + 10):
            while sent < 200_000:
                await connection.send(head("GET", MODELS) * 1000)
                sent += 1000
    except (TimeoutError, OSError):
        pass
    grown = server.figures().memory - before.memory
    connection.close()
    report.check("200,000 requests, answers unread: bounded", grown < 32, f"{sent} sent, {grown:+.0f} MiB")


def hello():
    """The first bytes of a TLS client."""
    context = ssl.create_default_context()
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = context.wrap_bio(incoming, outgoing, server_hostname="localhost")
    try:
        client.do_handshake()
    except ssl.SSLWantReadError:
        pass
    return outgoing.read()


def garbage(rng):
    """Name, bytes, and whether an answer of 200 would be wrong."""
    get = f"GET {MODELS} HTTP/1.1\r\nHost: localhost\r\n"
    yield "a TLS hello", hello()
    yield "noise", rng.randbytes(4096)
    yield "zeros", bytes(4096)
    yield "a banner of SSH", b"SSH-2.0-OpenSSH_9.6\r\n"
    yield "line breaks", b"\r\n" * 20000
    yield "a line of 1 MiB", b"A" * (1 << 20)
    yield "a path of 1 MiB", b"GET /" + b"a" * (1 << 20) + b" HTTP/1.1\r\nHost: localhost\r\n\r\n"
    yield "a header of 1 MiB", (get + "X: " + "a" * (1 << 20) + "\r\n\r\n").encode()
    yield "10,000 headers", (get + "X: a\r\n" * 10000 + "\r\n").encode()
    yield "a name of 1 MiB", (get + "X" * (1 << 20) + ": a\r\n\r\n").encode()
    yield "HTTP/9.9", f"GET {MODELS} HTTP/9.9\r\nHost: localhost\r\n\r\n".encode()
    yield "a header without a name", (get + ": a\r\n\r\n").encode()
    yield "a header over two lines", (get + "X: a\r\n b\r\n\r\n").encode()
    yield "a space before the colon", (get + "Content-Length : 5\r\n\r\n").encode()
    yield "a method of nonsense", b"G\x00T / HTTP/1.1\r\nHost: localhost\r\n\r\n"
    yield "CONNECT", b"CONNECT localhost:22 HTTP/1.1\r\nHost: localhost:22\r\n\r\n"
    yield "an upgrade to h2c", (get + "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n").encode()
    yield "an upgrade to WebSocket", (get + "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n").encode()


# Such may be answered: the odd part is optional, or allowed.
HARMLESS = {"line breaks", "10,000 headers", "a header over two lines", "an upgrade to h2c", "an upgrade to WebSocket"}


async def not_http(server, report, rng):
    async def one(name, data):
        connection = await Connection.open(server.address)

        async def send():
            await connection.send(data)

        sending = asyncio.ensure_future(send())
        closed = await connection.closed(IDLE + SLACK)
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)
        connection.close()
        status = connection.status()
        fine = closed is not None and status < 500 and (status != 200 or name in HARMLESS)
        report.check(f"garbage, {name}: refused or closed", fine, f"{shown(closed)}, status {status}")

    await asyncio.gather(*(one(n, d) for n, d in garbage(rng)))


def lies():
    """Name, head and body that do not fit together, and whether 200 would be wrong."""
    body = json.dumps(SMALL).encode()
    post = f"POST {COMPLETIONS} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    with_length = lambda text: (post + f"Content-Length: {text}\r\n\r\n").encode() + body
    chunked = (post + "Transfer-Encoding: chunked\r\n\r\n").encode()
    yield "length too long", with_length(len(body) + 10), True
    yield "length too short", with_length(len(body) - 5), True
    yield "length of 2^64 - 1", with_length(2**64 - 1), True
    yield "length of 2^64", with_length(2**64), True
    yield "length of -1", with_length(-1), True
    yield "length of +5", with_length("+5"), True
    yield "length of 0x10", with_length("0x10"), True
    yield "two lengths", (post + f"Content-Length: {len(body)}\r\nContent-Length: 5\r\n\r\n").encode() + body, True
    # RFC 9112, 6.3: the transfer coding wins, or it is refused; the length must not.
    both = post + f"Content-Length: {len(body)}\r\nTransfer-Encoding: chunked\r\n\r\n"
    yield "length and chunks", both.encode() + b"0\r\n\r\n", True
    yield "a coding that is unknown", (post + "Transfer-Encoding: gzip, cow\r\n\r\n").encode() + body, True
    yield "a chunk of 2^64 - 1", chunked + b"ffffffffffffffff\r\n" + body, True
    yield "a chunk of 17 digits", chunked + b"10000000000000000\r\n" + body, True
    yield "a chunk of -1", chunked + b"-1\r\n" + body, True
    yield "an extension of 1 MiB", chunked + b"1;" + b"a" * (1 << 20) + b"\r\n", True
    yield "trailers of 1 MiB", chunked + b"0\r\n" + b"X: a\r\n" * 180000 + b"\r\n", True
    yield "a chunk without its end", chunked + f"{len(body):x}\r\n".encode() + body + b"xx", True


async def lengths_that_lie(server, report):
    async def one(name, data, wrong):
        connection = await Connection.open(server.address)
        sending = asyncio.ensure_future(connection.send(data))
        closed = await connection.closed(max(IDLE, BODY) + SLACK)
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)
        connection.close()
        status = connection.status()
        fine = closed is not None and status < 500 and not (wrong and status == 200)
        report.check(f"lies, {name}: refused or closed", fine, f"{shown(closed)}, status {status}")

    await asyncio.gather(*(one(*lie) for lie in lies()))


async def too_large(server, report):
    most = 4 << 20
    cases = {path: b" " * (most + 1) for path in (CHAT, COMPLETIONS, "/tokenize", "/detokenize")}
    for path, body in cases.items():
        got = [await server.status("POST", path, body) for _ in range(3)]
        # A reset may overtake the answer, as the rest of the body was not read.
        fine = 413 in got and set(got) <= {0, 413}
        report.check(f"4 MiB and a byte to {path}: 413", fine, str(got))
    got = await server.status("POST", CHAT, b" " * most)
    report.check("4 MiB of blanks: 400", got == 400, str(got))

    async def chunked():
        connection = await Connection.open(server.address)
        before = head("POST", CHAT, ["Transfer-Encoding: chunked", "Content-Type: application/json"])
        chunk = b"10000\r\n" + b" " * 65536 + b"\r\n"

        async def send():
            await connection.send(before)
            for _ in range(80):
                await connection.send(chunk)
            await connection.send(b"0\r\n\r\n")

        sending = asyncio.ensure_future(send())
        try:
            return (await connection.answer(20)).status
        except (wire.Gone, TimeoutError):
            return 0
        finally:
            sending.cancel()
            await asyncio.gather(sending, return_exceptions=True)
            connection.close()

    got = [await chunked() for _ in range(3)]
    report.check("5 MiB in chunks: 413", 413 in got and set(got) <= {0, 413}, str(got))


async def hosts(server, report):
    """A keyless server on loopback answers to its own names only, whatever form they take."""

    async def raw(data):
        connection = await Connection.open(server.address)
        await connection.send(data)
        await connection.closed(IDLE + SLACK)
        connection.close()
        return connection.status()

    cases = [
        ("no Host", f"GET {MODELS} HTTP/1.1\r\nConnection: close\r\n\r\n"),
        ("no Host, HTTP/1.0", f"GET {MODELS} HTTP/1.0\r\n\r\n"),
        ("a foreign Host", f"GET {MODELS} HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n"),
        ("a Host that begins like ours", f"GET {MODELS} HTTP/1.1\r\nHost: 127.0.0.1.nip.io\r\nConnection: close\r\n\r\n"),
        ("an empty Host", f"GET {MODELS} HTTP/1.1\r\nHost:\r\nConnection: close\r\n\r\n"),
        ("two Hosts", f"GET {MODELS} HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\nConnection: close\r\n\r\n"),
        ("a foreign authority in the line", f"GET http://evil.example{MODELS} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"),
        ("a name and password", f"GET {MODELS} HTTP/1.1\r\nHost: localhost@evil.example\r\nConnection: close\r\n\r\n"),
    ]
    for name, text in cases:
        got = await raw(text.encode())
        report.check(f"{name}: refused", got in (400, 403, 421), f"status {got}")
    port = server.address[1]
    for name in ("localhost", f"localhost:{port}", f"127.0.0.1:{port}", f"[::1]:{port}", "LOCALHOST", f"localhost.:{port}"):
        got = await raw(f"GET {MODELS} HTTP/1.1\r\nHost: {name}\r\nConnection: close\r\n\r\n".encode())
        report.check(f"Host {name}: passes", got == 200, f"status {got}")


# HTTP/2, as little of it as it takes.
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


def frame(kind, flags, stream, payload=b""):
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload


def literal(index, value):
    """A header of the static table with another value, not kept (RFC 7541, 6.2.2)."""
    name = bytes([index]) if index < 15 else bytes([15, index - 15])
    return name + bytes([len(value)]) + value.encode()


def request_head(authority, path, method_index=2):
    # 2: GET, 3: POST, 6: http; 1 and 4: names of :authority and :path.
    return bytes([0x80 | method_index, 0x86]) + literal(4, path) + literal(1, authority)


async def http2(server, report):
    async def talk(data, seconds):
        connection = await Connection.open(server.address)
        sending = asyncio.ensure_future(connection.send(data))
        await connection.closed(seconds)
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)
        connection.close()
        return connection.held

    def statuses(data):
        """Whether a stream was answered with 200 (index 8 of HPACK's table)."""
        found = []
        while len(data) >= 9:
            length, kind = int.from_bytes(data[:3], "big"), data[3]
            if kind == 1:
                # A change of the table's size may come first.
                block = data[9 : 9 + length].lstrip(bytes(range(0x20, 0x40)))
                found.append(block[:1] == b"\x88")
            data = data[9 + length :]
        return found

    settings = PREFACE + frame(4, 0, 0)
    data = await talk(settings + frame(1, 5, 1, request_head("evil.example", MODELS)), 2)
    spoken = not data.startswith(b"HTTP/1.")
    got = statuses(data) if spoken else []
    words = f"{'spoken' if spoken and data else 'not spoken'}, answered with 200: {any(got)}"
    report.check("HTTP/2 for a foreign authority: refused", not any(got), words)
    # Streams that are opened and reset at once, and a head that never ends.
    flood = b"".join(
        frame(1, 4, 2 * i + 1, request_head("localhost", COMPLETIONS, 3)) + frame(3, 0, 2 * i + 1, struct.pack(">I", 8))
        for i in range(5000)
    )
    endless = frame(1, 0, 1, request_head("localhost", MODELS)) + frame(9, 0, 1, literal(32, "a" * 100)) * 20000
    before = server.figures()
    for name, data in (("5,000 streams reset at once", flood), ("a head that never ends", endless), ("100,000 pings", frame(6, 0, 0, bytes(8)) * 100000)):
        await talk(settings + data, 2)
        code, said = await server.health()
        grown = server.figures().memory - before.memory
        fine = code == 200 and said.get("running") == 0 and grown < 64
        report.check(f"HTTP/2, {name}: harmless", fine, f"/health {code}, {grown:+.0f} MiB")


async def expects(server, report):
    connection = await Connection.open(server.address)
    body = json.dumps(SMALL).encode()
    await connection.send(head("POST", COMPLETIONS, ["Expect: 100-continue"], len(body)))
    got = []
    try:
        async with asyncio.timeout(10):
            first, headers = await connection.head()
            got.append(first)
            if first == 100:
                await connection.send(body)
                got.append((await connection.answer()).status)
    except (wire.Gone, TimeoutError):
        pass
    connection.close()
    report.check("Expect: 100-continue: 100, then the answer", got == [100, 200], str(got))


async def unread(report, binary):
    """A client that asks for a stream and never reads it is dropped."""
    flags = ["--no-key", "--parallel", 4, "--queue", 16, "--idle-timeout", IDLE, "--body-timeout", BODY, "--request-timeout", 10, "--stalled-timeout", STALLED]
    async with Server(binary, *flags) as server:
        await server.status("POST", COMPLETIONS, SMALL)
        before = server.figures()
        body = {"prompt": "a", "max_tokens": 4096, "stream": True, "n": 4, "logprobs": 20, "temperature": 1, "seed": 1, **ENDLESS}
        body = json.dumps(body).encode()
        connections = []
        for _ in range(3):
            connection = await Connection.open(server.address, receive_buffer=4096)
            await connection.send(head("POST", COMPLETIONS, [], len(body)) + body)
            connections.append(connection)
        began = await server.until(lambda: server.figures().files >= before.files + 3, 10)
        report.check("unread streams: are open", began is not None, str(server.figures()))
        # All wait for one another at most: a request time-out, and then for the reader.
        most = 10 + STALLED + SLACK
        free = await server.idle(most)
        report.check("unread streams: their slots are free again", free is not None, f"after {free or most:.1f} s (at most {most})")
        # What nobody reads is not kept for ever either.
        gone = await server.until(lambda: server.figures().files <= before.files + 1, most)
        grown = server.figures().memory - before.memory
        report.check("unread streams: are dropped", gone is not None, f"after {(free or 0) + (gone or most):.1f} s, {grown:+.0f} MiB")
        for connection in connections:
            connection.close()
        got = await server.status("POST", COMPLETIONS, SMALL)
        report.check("unread streams: others are served", got == 200, f"status {got}")


async def many(report, binary):
    """2,000 connections that do nothing; every other one asked once."""
    flags = ["--no-key", "--max-connections", 512, "--idle-timeout", IDLE, "--body-timeout", BODY]
    async with Server(binary, *flags) as server:
        await server.status("POST", COMPLETIONS, SMALL)
        before = server.figures()
        report.note("2,000 idle connections: limit of open files", f"1024 given, {server.most_files()} taken")
        line = asyncio.Semaphore(100)

        async def open_one(i):
            async with line:
                try:
                    connection = await Connection.open(server.address, 3)
                except (OSError, TimeoutError):
                    return None
                if i % 2:
                    try:
                        await connection.send(head("GET", "/health"))
                        await connection.answer(1)
                    except (OSError, wire.Gone, TimeoutError):
                        pass
                return connection

        start = time.monotonic()
        opened = await asyncio.gather(*(open_one(i) for i in range(2000)))
        connections = [c for c in opened if c]
        took = time.monotonic() - start
        at_most = server.figures()
        code, _ = await server.health(5)
        report.check("2,000 idle connections: /health answers", code == 200, f"status {code}, {len(connections)} opened in {took:.1f} s")
        fine = at_most.files <= before.files + 512 + 16
        report.check("2,000 idle connections: no more files than allowed", fine, f"{before} before, {at_most} with them")
        start = time.monotonic()
        closed = await asyncio.gather(*(c.closed(IDLE + SLACK + 4) for c in connections))
        still = closed.count(None)
        report.check("2,000 idle connections: closed in time", still == 0, f"{still} still open after {time.monotonic() - start:.1f} s")
        for connection in connections:
            connection.close()
        back = await server.until(lambda: server.figures().files <= before.files + 2, 10)
        after = server.figures()
        fine = back is not None and after.memory <= before.memory + 32
        report.check("2,000 idle connections: given back", fine, f"{after} after")


async def slow_crowd(server, report):
    """Bodies that drip take places in the line, but for the time of a body only."""
    body = json.dumps({**SMALL, "prompt": "a" * 500}).encode()
    slow = [asyncio.ensure_future(dripped(server, head("POST", COMPLETIONS, [], len(body)), body, 0.2, BODY + SLACK)) for _ in range(200)]
    await asyncio.sleep(0.5)
    start, got = time.monotonic(), []
    while time.monotonic() - start < BODY + SLACK and (not got or got[-1] != 200):
        got.append(await server.status("POST", COMPLETIONS, SMALL))
        await asyncio.sleep(0.1)
    free = time.monotonic() - start
    for task in slow:
        task.cancel()
    await asyncio.gather(*slow, return_exceptions=True)
    others = {s: got.count(s) for s in set(got)}
    report.check("200 slow bodies: others come through in time", got[-1] == 200, f"after {free:.1f} s, statuses {others}")


async def run(report, binary, _short, rng):
    flags = ["--no-key", "--parallel", 4, "--queue", 32, "--idle-timeout", IDLE, "--body-timeout", BODY, "--stalled-timeout", STALLED, "--request-timeout", 20]
    async with Server(binary, *flags) as server:
        await server.status("POST", COMPLETIONS, SMALL)
        before = server.figures()
        # What waits for a time-out can wait together.
        await asyncio.gather(
            slow_head(server, report),
            slow_body(server, report),
            no_body(server, report),
            endless_chunks(server, report),
            idle_after_an_answer(server, report),
        )
        await half_closed(server, report)
        await expects(server, report)
        await not_http(server, report, rng)
        await lengths_that_lie(server, report)
        await hosts(server, report)
        await http2(server, report)
        await too_large(server, report)
        await pipelined(server, report)
        await slow_crowd(server, report)
        idle = await server.idle(BODY + SLACK)
        back = await server.until(lambda: server.figures().files <= before.files + 2, IDLE + SLACK)
        fine = idle is not None and back is not None and server.alive()
        report.check("after all of this: nothing is left", fine, f"{before} before, {server.figures()} after")
        got = await server.status("POST", COMPLETIONS, SMALL)
        report.check("after all of this: it serves", got == 200, f"status {got}")
    await many(report, binary)
    await unread(report, binary)
