"""A thousand clients that go away, at every moment one can."""

import asyncio
import json

import wire
from server import ENDLESS, Server, Watch
from wire import Connection, head

COMPLETIONS, CHAT = "/v1/completions", "/v1/chat/completions"
COUNT, AT_ONCE, PARALLEL = 1000, 16, 4


async def leave(server, i):
    """Asks and goes away; whether it got as far as it wanted (a full line is no fault)."""
    text = f"number {i} " * 8
    body = {"prompt": text, "max_tokens": 500, "stream": i % 2 == 0, "n": 1 + i % 3 // 2, **ENDLESS}
    if i % 7 == 0:
        body["response_format"] = {"type": "json_object"}
    body = json.dumps(body).encode()
    connection = await Connection.open(server.address)
    try:
        await connection.send(head("POST", COMPLETIONS, [], len(body)))
        # Before the body, within it, after it, with the head of the answer, within the answer.
        moment = i % 5
        if moment:
            await connection.send(body[: len(body) // 2] if moment == 1 else body)
        if moment == 3 and i % 2 == 0:
            async with asyncio.timeout(20):
                await connection.head()
        if moment == 4 and i % 2 == 0:
            async with asyncio.timeout(20):
                status, _ = await connection.head()
                if status == 200:
                    await connection.until(b"data: ")
                    await connection.until(b"data: ")
        elif moment == 2:
            await asyncio.sleep(0.01)
        return True
    except (wire.Gone, TimeoutError, OSError):
        return False
    finally:
        if i % 3:
            connection.close()
        else:
            connection.reset()


async def wave(server, numbers):
    line = asyncio.Semaphore(AT_ONCE)

    async def one(i):
        async with line:
            return await leave(server, i)

    return sum(await asyncio.gather(*(one(i) for i in numbers)))


async def run(report, binary, short, _rng):
    flags = ["--no-key", "--parallel", PARALLEL, "--queue", 16, "--ms-per-forward", 2, "--request-timeout", 60, "--idle-timeout", 10, "--body-timeout", 10]
    async with Server(binary, *flags) as server:
        # The first fill pools and caches of bounded size.
        await wave(server, range(200))
        await server.idle(20)
        before = server.figures()
        async with Watch(server) as watch:
            for round_ in range(1 if short else 5):
                first = 1000 * (round_ + 1)
                came = await wave(server, range(first, first + COUNT))
        idle = await server.idle(20)
        code, said = await server.health()
        words = f"{came} of {COUNT} as wanted, /health {code} {said}"
        report.check("1,000 cancelled: nothing runs, nothing waits", idle is not None and came > COUNT * 9 // 10, words)
        back = await server.until(
            lambda: server.figures().files <= before.files + 2 and server.figures().threads <= before.threads + 2, 15
        )
        after = server.figures()
        report.check("1,000 cancelled: threads and sockets are given back", back is not None, f"{before} before, {watch.most} at most, {after} after")
        grown = after.memory - before.memory
        report.check("1,000 cancelled: memory is given back", grown <= 32, f"{grown:+.0f} MiB (at most 32)")
        answer = await server.ask("POST", CHAT, {"messages": [{"role": "user", "content": "a"}], "max_tokens": 4})
        report.check("1,000 cancelled: it serves as before", answer.status == 200, f"status {answer.status}")
        # A page that is left open, and left.
        for _ in range(100):
            connection = await Connection.open(server.address)
            await connection.send(head("GET", "/live"))
            await connection.head()
            connection.close()
        back = await server.until(lambda: server.figures().files <= before.files + 2, 30)
        report.check("100 pages that were left: given back", back is not None, str(server.figures()))
