"""A server whose engine ended says so, and ends."""

import asyncio

from server import ENDLESS, Server

COMPLETIONS = "/v1/completions"


async def run(report, binary, _short, _rng):
    after = 60
    flags = ["--no-key", "--parallel", 4, "--queue", 8, "--ms-per-forward", 5, "--request-timeout", 30, "--break-engine-after", after]
    async with Server(binary, *flags) as server:
        code, _ = await server.health()
        report.check("before the engine breaks: /health is 200", code == 200, f"status {code}")
        body = {"prompt": "a", "max_tokens": 400, **ENDLESS}
        seen, answers = [], []

        async def keep_asking(i):
            while server.alive():
                answers.append(await server.status("POST", COMPLETIONS, {**body, "seed": i, "stream": i == 2}, timeout=30))

        asking = [asyncio.ensure_future(keep_asking(i)) for i in range(3)]

        async def ended():
            code, _ = await server.health(2)
            if not seen or seen[-1] != code:
                seen.append(code)
            return not server.alive()

        took = await server.until(ended, 30)
        told = await server.until(lambda: all(task.done() for task in asking), 10)
        for task in asking:
            task.cancel()
        await asyncio.gather(*asking, return_exceptions=True)
        words = "/health " + " → ".join("no answer" if s == 0 else str(s) for s in seen)
        # 200, then 503 (which may be missed), then no answer; never back to 200.
        fine = took is not None and seen[0] in (200, 503, 0) and 200 not in seen[1:]
        report.check("the engine breaks: /health is not 200 any more", fine, words)
        code = server.process.poll()
        report.check("the engine breaks: the process ends by itself", code not in (None, 0), f"after {took if took is None else round(took, 1)} s, code {code}")
        report.check("the engine breaks: not by a signal", code is not None and code > 0, f"code {code}")
        report.check("the engine breaks: nobody waits for ever", took is not None and told is not None, f"statuses {sorted(set(answers))}")
        said = server.said().strip()
        report.check("the engine breaks: there is a reason on stderr", bool(said), said.splitlines()[-1][:160] if said else "nothing")
