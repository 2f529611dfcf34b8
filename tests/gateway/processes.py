"""The processes of the test: servers on a synthetic model, and the gateway in front of them."""

import http.client
import json
import os
import re
import select
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

# How the gateway is started where it is in earnest.
START = Path(__file__).parent.parent.parent / "deploy" / "gateway" / "start"
# The key of the gateway itself, by which it registers servers and is managed, and a user's.
GATEWAY_KEY, USER_KEY = "key-of-the-gateway", "key-of-anna"
# Seconds that a server which is told to end still takes requests. The gateway asks for health
# every second, so it has turned away by then.
DRAIN_DELAY = 3
# Generations at a time on a server.
PARALLEL = 8


def free_ports(count):
    """Ports that nobody listens on. All are taken at once, so that they differ."""
    taken = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in taken]
    for each in taken:
        each.close()
    return ports


def get(port, path, key=None, timeout=5):
    """The status of a path and what it says; 0 if nobody answers."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)
    try:
        connection.request("GET", path, headers={"Authorization": f"Bearer {key}"} if key else {})
        response = connection.getresponse()
        return response.status, response.read().decode()
    except (OSError, http.client.HTTPException):
        return 0, ""
    finally:
        connection.close()


def until(done, seconds, what):
    """Waits until `done()` is true; returns what it gave."""
    end = time.monotonic() + seconds
    while not (value := done()):
        if time.monotonic() > end:
            raise RuntimeError(f"{what} took more than {seconds} s")
        time.sleep(0.02)
    return value


class Process:
    """A process whose log is kept until the end; with `hear`, its standard output is read here."""

    def __init__(self, command, hear=False, environment=None):
        self.log = tempfile.TemporaryFile()
        out = subprocess.PIPE if hear else self.log
        self.child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=self.log, env=environment)

    def said(self):
        self.log.seek(0)
        return self.log.read().decode(errors="replace")[-2000:]

    def stop(self):
        """Ends it, however it ended before."""
        if self.child.poll() is None:
            self.child.terminate()
            try:
                self.child.wait(15)
            except subprocess.TimeoutExpired:
                self.child.kill()
                self.child.wait()
        if self.child.stdout:
            self.child.stdout.close()


class Server:
    """A server at a port of its own, which may be started again there."""

    def __init__(self, binary, port):
        self.binary, self.port = binary, port
        self.url = f"http://127.0.0.1:{port}"
        self.start()

    def start(self):
        flags = {
            "--port": self.port,
            "--parallel": PARALLEL,
            "--ms-per-forward": 10,
            "--key": f"gateway={GATEWAY_KEY}",
            "--drain-timeout": 30,
            "--drain-delay": DRAIN_DELAY,
            "--stream-head-wait": 30,
        }
        command = [self.binary, *(str(part) for flag in flags.items() for part in flag), "--key", f"anna={USER_KEY}"]
        self.process = Process(command, hear=True)
        ready, _, _ = select.select([self.process.child.stdout], [], [], 30)
        line = self.process.child.stdout.readline().decode() if ready else ""
        if not line.startswith("http://"):
            self.process.stop()
            raise RuntimeError(f"a server did not start: {line!r} {self.process.said()}")

    def kill(self):
        self.process.child.kill()
        self.process.child.wait()

    def leave(self):
        """Tells it to end."""
        self.process.child.send_signal(signal.SIGTERM)

    def health(self):
        """The status of `/health`, and what it says."""
        status, text = get(self.port, "/health")
        return status, json.loads(text) if text else {}

    def metric(self, name):
        """The sum of a metric over its labels."""
        _, text = get(self.port, "/metrics", GATEWAY_KEY)
        values = re.findall(rf"^{name}(?:{{[^}}]*}})? (\S+)$", text, re.M)
        return sum(float(value) for value in values)

    def generations(self):
        """Answers that it began since it was started."""
        _, text = get(self.port, "/metrics", GATEWAY_KEY)
        asked = r'^card_requests_total\{path="/v1/(?:chat/completions|completions|messages)",status="200"\} (\S+)$'
        return sum(float(value) for value in re.findall(asked, text, re.M))


class Gateway:
    """smg in front of servers, started as in earnest, but asking for health more often."""

    def __init__(self, smg, servers):
        self.port, self.metrics_port = free_ports(2)
        flags = [
            *("--host", "127.0.0.1", "--port", self.port),
            *("--prometheus-host", "127.0.0.1", "--prometheus-port", self.metrics_port),
            *("--worker-urls", *(server.url for server in servers)),
            *("--worker-startup-check-interval", 1),
            *("--health-check-interval-secs", 1, "--health-failure-threshold", 1, "--health-success-threshold", 1),
            *("--load-monitor-interval", 1, "--log-level", "warn"),
        ]
        self.keys = tempfile.NamedTemporaryFile("w")
        self.keys.write(f"# as for the servers\n gateway: {GATEWAY_KEY}\nanna:{USER_KEY}")
        self.keys.flush()
        environment = {**os.environ, "CARD_KEYS": self.keys.name, "SMG": smg}
        self.process = Process([START, *map(str, flags)], environment=environment)
        self.wanted = len(servers)
        try:
            self.until_healthy(self.wanted, 60)
        except RuntimeError as error:
            self.process.stop()
            raise RuntimeError(f"{error}: {self.process.said()}") from None

    def until_healthy(self, count, seconds=20):
        """Waits until it counts so many servers as healthy."""

        def counted():
            status, text = get(self.port, "/readiness")
            return status in (200, 503) and text and json.loads(text).get("healthy_workers") == count

        until(counted, seconds, f"{count} healthy servers")

    def running(self):
        """Generations at work, by what the servers told it."""
        _, text = get(self.port, "/get_loads", GATEWAY_KEY)
        return sum(load["num_running_reqs"] for load in json.loads(text).get("loads", [])) if text else 0

    def retries(self):
        """Requests that it sent again, to whichever server."""
        _, text = get(self.metrics_port, "/metrics")
        again = re.findall(r"^smg_(?:worker_retries|upstream_send_retr\w*)_total\S* (\S+)$", text, re.M)
        return sum(float(value) for value in again)
