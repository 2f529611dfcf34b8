"""The server under test: a process, its address, and what it holds."""

import asyncio
import json
import os
import resource
import select
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import wire

HERE = Path(__file__).parent
# Token 257 of the synthetic model ends a text. Banned, a text is as long as it may be.
ENDLESS = {"logit_bias": {"257": -100}}


class Figures:
    """What a process holds."""

    def __init__(self, memory, threads, files):
        self.memory, self.threads, self.files = memory, threads, files

    @classmethod
    def of(cls, pid):
        with open(f"/proc/{pid}/status") as status:
            values = {k: v.split()[0] for k, _, v in (line.partition(":") for line in status) if v.split()}
        # Anonymous memory, swapped out or not: what it allocated, without files that are mapped.
        memory = (int(values["RssAnon"]) + int(values["VmSwap"])) / 1024
        return cls(memory, int(values["Threads"]), len(os.listdir(f"/proc/{pid}/fd")))

    def __str__(self):
        return f"{self.memory:.0f} MiB, {self.threads} threads, {self.files} files"


class Server:
    """A running server; ended when it is left."""

    def __init__(self, binary, *flags):
        self.log = tempfile.TemporaryFile()
        command = [str(binary), *map(str, flags)]
        # What a service manager gives it, so that it has to raise that itself.
        usual = lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (1024, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
        self.process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=self.log, preexec_fn=usual
        )
        ready, _, _ = select.select([self.process.stdout], [], [], 30)
        line = self.process.stdout.readline().decode().strip() if ready else ""
        if not line.startswith("http://127.0.0.1:"):
            self.process.kill()
            self.process.wait()
            raise RuntimeError(f"{' '.join(command)} did not start: {line!r} {self.said()[-500:]}")
        self.address = ("127.0.0.1", int(line.rsplit(":", 1)[1].rstrip("/")))

    async def __aenter__(self):
        return self

    async def __aexit__(self, *_):
        self.stop()

    @property
    def pid(self):
        return self.process.pid

    def alive(self):
        return self.process.poll() is None

    def figures(self):
        return Figures.of(self.pid)

    def reset_peak(self):
        """Begins to measure the most memory anew."""
        with open(f"/proc/{self.pid}/clear_refs", "w") as refs:
            refs.write("5")

    def resident(self, name="VmRSS"):
        """Memory that is resident, or (VmHWM) the most since the last reset, in MiB."""
        with open(f"/proc/{self.pid}/status") as status:
            return next(int(line.split()[1]) / 1024 for line in status if line.startswith(name))

    def most_files(self):
        """The soft limit of open files."""
        with open(f"/proc/{self.pid}/limits") as limits:
            return int(next(line.split()[3] for line in limits if line.startswith("Max open files")))

    def said(self):
        """What it wrote to stderr so far."""
        self.log.seek(0)
        return self.log.read().decode(errors="replace")

    def stop(self):
        if self.alive():
            self.process.terminate()
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self.process.stdout.close()

    async def ask(self, *what, **more):
        return await wire.ask(self.address, *what, **more)

    async def status(self, *what, **more):
        return await wire.status(self.address, *what, **more)

    async def health(self, timeout=5.0):
        """The status of `/health` and what it says; 0 if there is no answer."""
        try:
            answer = await self.ask("GET", "/health", timeout=timeout)
            return answer.status, answer.json()
        except (wire.Gone, OSError, TimeoutError, ValueError):
            return 0, {}

    async def until(self, done, seconds):
        """Waits until `done()` (which may be a coroutine); how long it took, or `None`."""
        start = time.monotonic()
        while True:
            value = done()
            if asyncio.iscoroutine(value):
                value = await value
            if value:
                return time.monotonic() - start
            if time.monotonic() - start > seconds:
                return None
            await asyncio.sleep(0.05)

    async def idle(self, seconds):
        """Waits until nothing runs and nothing waits."""

        async def done():
            code, said = await self.health()
            return code == 200 and said.get("running") == 0 and said.get("waiting") == 0

        return await self.until(done, seconds)


def quantile(values, q):
    values = sorted(values)
    return values[min(len(values) - 1, int(q * len(values)))] if values else 0.0


class Watch:
    """Asks for /health every 20 ms from a process of its own, so that what this one does is
    not measured, and notes the most the server held."""

    def __init__(self, server):
        command = [sys.executable, str(HERE / "health.py"), str(server.address[1]), str(server.pid)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    async def __aenter__(self):
        await asyncio.get_running_loop().run_in_executor(None, self.process.stdout.readline)
        return self

    async def __aexit__(self, *_):
        loop = asyncio.get_running_loop()
        said, _ = await loop.run_in_executor(None, self.process.communicate)
        said = json.loads(said)
        self.times, self.late, self.failed = said["ms"], said["late_ms"], said["failed"]
        self.most = Figures(said["memory"], said["threads"], said["files"])

    def __str__(self):
        at = lambda values: f"{quantile(values, .5):.1f}/{quantile(values, .99):.1f}/{max(values, default=0):.1f}"
        return f"/health {at(self.times)} ms (p50/p99/max of {len(self.times)}), timer late {at(self.late)} ms"
