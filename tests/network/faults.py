"""A drafter in a network namespace of its own, and what can happen to it and the way there.

A server here uses a drafter behind a veth pair. While requests run, the link goes down and
up, the drafter is killed, frozen and started again, and (by a relay, or by netem where the
kernel has it) messages take up to 200 ms each way. Every answer must be plain decoding's.
Needs root, iproute2 and the small model. Usage: faults.py CARD [SECONDS per fault]
"""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request

CARD = sys.argv[1]
SECONDS = float(sys.argv[2]) if len(sys.argv) > 2 else 6.0
MODEL = "smollm2-135m"
SPACE = f"card-{os.getpid()}"
HERE, THERE, PORT = "10.213.77.1", "10.213.77.2", 7070
ENV = dict(os.environ, CARD_NO_MEMORY="true")
# A secret in a file is in no list of processes.
SECRET = tempfile.NamedTemporaryFile("w", prefix="card-secret-")
SECRET.write("not-a-secret\n")
SECRET.flush()
LINK = ["--link-token-file", SECRET.name]
PROMPTS = ["Write a story about a dog.", "Name three colours.", "What is a river?"]


def run(*command, check=True):
    return subprocess.run(command, check=check, capture_output=True, text=True)


class Relay:
    """Passes bytes on after a while, for kernels without netem."""

    def __init__(self, delay):
        self.delay = delay
        self.socket = socket.create_server((HERE, 0))
        self.port = self.socket.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            near, _ = self.socket.accept()
            try:
                far = socket.create_connection((THERE, PORT), timeout=5)
            except OSError:
                near.close()
                continue
            far.settimeout(None)
            for a, b in ((near, far), (far, near)):
                a.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                threading.Thread(target=self.pump, args=(a, b), daemon=True).start()

    def pump(self, source, sink):
        import queue

        late = queue.Queue()

        def deliver():
            while (item := late.get()) is not None:
                due, data = item
                time.sleep(max(0.0, due - time.monotonic()))
                try:
                    sink.sendall(data)
                except OSError:
                    return
            sink.close()

        threading.Thread(target=deliver, daemon=True).start()
        try:
            while data := source.recv(65536):
                late.put((time.monotonic() + self.delay, data))
        except OSError:
            pass
        late.put(None)


class Server:
    def __init__(self, *arguments):
        command = [CARD, "serve", "-m", MODEL, "--port", "0", "--no-page", *arguments]
        self.process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=ENV)
        for line in self.process.stderr:
            if "serving " in line:
                self.url = "http://" + line.split("://")[1].strip().removesuffix("/v1")
                break
        else:
            sys.exit("the server did not start")
        threading.Thread(target=lambda: [None for _ in self.process.stderr], daemon=True).start()

    def ask(self, prompt):
        body = {
            "messages": [{"role": "user", "content": prompt}],
            "temperature": 0,
            "max_tokens": 48,
        }
        request = urllib.request.Request(
            self.url + "/v1/chat/completions",
            json.dumps(body).encode(),
            {"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=120) as answer:
            return json.load(answer)["choices"][0]["message"]["content"]

    def metric(self, name):
        with urllib.request.urlopen(self.url + "/metrics", timeout=10) as answer:
            for line in answer.read().decode().splitlines():
                if line.startswith(name + " "):
                    return float(line.split()[1])
        return 0.0

    def drafted(self):
        return self.metric("card_draft_busy_seconds_total")

    def end(self):
        self.process.terminate()
        self.process.wait()


def drafter():
    command = ["ip", "netns", "exec", SPACE, CARD, "draft", "-m", MODEL]
    command += ["--listen", f"{THERE}:{PORT}", *LINK, "-t", "1"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=ENV)
    for line in process.stderr:
        if "drafting for targets" in line:
            break
    else:
        sys.exit("the drafter did not start")
    threading.Thread(target=lambda: [None for _ in process.stderr], daemon=True).start()
    return process


def until(server, plain, seconds, what):
    """Asks for some time; every answer must be right."""
    end, count = time.monotonic() + seconds, 0
    while time.monotonic() < end:
        prompt = PROMPTS[count % len(PROMPTS)]
        text = server.ask(prompt)
        if text != plain[prompt]:
            sys.exit(f"{what}: {text!r} in place of {plain[prompt]!r}")
        count += 1
    return count


def recovery(server, plain, what):
    """Seconds until drafts arrive again."""
    start, before = time.monotonic(), server.drafted()
    while server.drafted() <= before:
        until(server, plain, 0.01, what)
        if time.monotonic() - start > 120:
            sys.exit(f"{what}: the drafter did not come back")
    return time.monotonic() - start


def faults(plain, name, url):
    global process
    server = Server("--drafter", url, *LINK, "--mode", "card", "--exactness", "exact", "-t", "1")
    try:
        first = recovery(server, plain, name)
        print(f"{name}: drafts after {first:.1f} s, {until(server, plain, SECONDS, name)} answers")
        run("ip", "link", "set", "cardv0", "down")
        count = until(server, plain, SECONDS, "partition")
        run("ip", "link", "set", "cardv0", "up")
        back = recovery(server, plain, "partition")
        print(f"{name}, link down for {SECONDS:.0f} s: {count} answers, drafts {back:.1f} s after it is up")
        process.kill()
        process.wait()
        count = until(server, plain, SECONDS, "killed")
        process = drafter()
        back = recovery(server, plain, "killed")
        print(f"{name}, drafter killed: {count} answers, drafts {back:.1f} s after it is started again")
        # The child of `ip netns exec` is card itself.
        process.send_signal(signal.SIGSTOP)
        count = until(server, plain, SECONDS, "frozen")
        process.send_signal(signal.SIGCONT)
        back = recovery(server, plain, "frozen")
        print(f"{name}, drafter frozen: {count} answers, drafts {back:.1f} s after it goes on")
    finally:
        server.end()


def full_disk(plain):
    """The audit log's disk is full: answers go on, losses are counted, and the log tells of them."""
    folder = tempfile.mkdtemp()
    if run("mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", folder, check=False).returncode:
        print("full disk: left out, since this machine mounts no small file system")
        return
    log = os.path.join(folder, "audit.jsonl")
    try:
        server = Server("--draft", MODEL, "--mode", "card", "--exactness", "exact", "-t", "1", "--audit", log)
        count, end = 0, time.monotonic() + 120
        while server.metric("card_audit_lost_total") == 0:
            count += until(server, plain, 0.01, "full disk")
            if time.monotonic() > end:
                sys.exit("full disk: nothing was lost, or it was not counted")
        count += until(server, plain, SECONDS, "full disk")
        # Somebody makes room.
        run("mount", "-o", "remount,size=64m", folder)
        count += until(server, plain, 2, "room again")
        lost = server.metric("card_audit_lost_total")
        server.end()
        verified = run(CARD, "audit", "verify", log, check=False)
        if verified.returncode:
            sys.exit(f"full disk: the log is broken: {verified.stderr}")
        told = sum(int(n) for n in re.findall(r": (\d+) records? w(?:as|ere) lost", verified.stdout))
        if told != lost:
            sys.exit(f"full disk: {lost:.0f} records were lost, and the log tells of {told}")
        print(f"full disk: {count} answers, {lost:.0f} records lost, counted and told of, the log holds together")
    finally:
        run("umount", folder, check=False)
        os.rmdir(folder)


def main():
    global process
    if os.geteuid() != 0 or run("ip", "netns", "add", SPACE, check=False).returncode:
        print("network faults: left out, since this machine gives no network namespaces")
        return
    process = None
    try:
        run("ip", "link", "add", "cardv0", "type", "veth", "peer", "name", "cardv1")
        run("ip", "link", "set", "cardv1", "netns", SPACE)
        run("ip", "addr", "add", f"{HERE}/24", "dev", "cardv0")
        run("ip", "link", "set", "cardv0", "up")
        inside = ("ip", "netns", "exec", SPACE, "ip")
        run(*inside, "addr", "add", f"{THERE}/24", "dev", "cardv1")
        run(*inside, "link", "set", "cardv1", "up")
        server = Server("--mode", "plain", "-t", "1")
        plain = {prompt: server.ask(prompt) for prompt in PROMPTS}
        server.end()
        full_disk(plain)
        process = drafter()
        faults(plain, "near", f"http://{THERE}:{PORT}")
        netem = ("tc", "qdisc", "add", "dev", "cardv0", "root", "netem")
        if run(*netem, "delay", "100ms", "20ms", "loss", "1%", check=False).returncode == 0:
            faults(plain, "netem 100 ms, 1 % loss", f"http://{THERE}:{PORT}")
            run("tc", "qdisc", "del", "dev", "cardv0", "root", check=False)
        else:
            # The kernel has no netem.
            for ms in (20, 200):
                faults(plain, f"{ms} ms each way", f"http://{HERE}:{Relay(ms / 1000).port}")
        print("network faults: every answer was plain decoding's")
    finally:
        if process:
            process.kill()
        run("ip", "link", "del", "cardv0", check=False)
        run("ip", "netns", "del", SPACE, check=False)


main()
