"""Requests through the gateway, and what became of each."""

import http.client
import json
import threading
import time

from processes import USER_KEY

# Token 257 of the synthetic model ends a text. Banned, a text is as long as it may be.
ENDLESS = {"257": -100}
PATHS = ("/v1/completions", "/v1/chat/completions", "/v1/messages")
# Tokens of a short answer and of a long one.
SHORT, LONG = 24, 250


class Outcome:
    """What became of a request."""

    def __init__(self, path, stream):
        self.path, self.stream = path, stream
        # The status, 0 while there is none; which server answers; the body so far.
        self.status, self.server, self.body = 0, None, b""
        # Why the connection broke, if it did.
        self.broke = None
        self.seconds = 0.0

    @property
    def complete(self):
        """Whether it is an answer from its beginning to its end."""
        if self.status != 200 or self.broke:
            return False
        if not self.stream:
            answer = json.loads(self.body)
            return bool(answer.get("choices") or answer.get("content"))
        ends = b"message_stop" if self.path == "/v1/messages" else b"[DONE]"
        return ends in self.body and self.error is None

    @property
    def error(self):
        """What the stream says of its failure, in the words of its protocol: an event whose data has
        an object `error`, which every SDK raises; `None` if it says nothing."""
        for line in self.body.splitlines():
            if line.startswith(b"data: {") and b'"error"' in line:
                error = json.loads(line[6:]).get("error")
                return error if isinstance(error, dict) else None
        return None

    def __str__(self):
        kind = "stream" if self.stream else "whole"
        return f"{self.path} {kind}: {self.status} {self.broke or ''} {self.body[-200:]!r}"


def request_body(path, stream, prompt, tokens):
    """A request for so many tokens. Messages has no way to ban a token, so its text may end."""
    body = {"model": "synthetic", "max_tokens": tokens, "stream": stream}
    if path == "/v1/completions":
        return {**body, "prompt": prompt, "logit_bias": ENDLESS}
    body["messages"] = prompt if isinstance(prompt, list) else [{"role": "user", "content": prompt}]
    return body if path == "/v1/messages" else {**body, "logit_bias": ENDLESS}


def ask(port, path, stream, prompt, tokens, heard=lambda outcome: None):
    """Sends one request and follows its answer; `heard` is called when its head came."""
    outcome, start = Outcome(path, stream), time.monotonic()
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {USER_KEY}"}
    try:
        connection.request("POST", path, json.dumps(request_body(path, stream, prompt, tokens)), headers)
        response = connection.getresponse()
        outcome.status, outcome.server = response.status, response.getheader("x-smg-routed-worker-id")
        heard(outcome)
        while more := response.read1(65536):
            outcome.body += more
    except http.client.IncompleteRead as error:
        outcome.body += error.partial
        outcome.broke = "cut"
    except (OSError, http.client.HTTPException) as error:
        outcome.broke = repr(error)
    finally:
        connection.close()
    outcome.seconds = time.monotonic() - start
    return outcome


class Load:
    """Threads that ask one request after the other, of all kinds, until they are stopped."""

    def __init__(self, port, threads):
        self.port, self.lock = port, threading.Lock()
        self.outcomes, self.streaming, self.ending = [], {}, False
        self.threads = [threading.Thread(target=self.run, args=(number,), daemon=True) for number in range(threads)]
        for thread in self.threads:
            thread.start()

    def run(self, number):
        asked = 0
        while not self.ending:
            # A third of the threads follow long streams; the others mix whole answers and short ones.
            long = number % 3 == 0
            stream = long or asked % 2 == 0
            path = PATHS[:2][asked % 2] if long else PATHS[asked % 3]
            prompt = f"{number} asks for the {asked}th time. " * 4
            outcome = ask(self.port, path, stream, prompt, LONG if long else SHORT, lambda o: self.began(number, o))
            with self.lock:
                self.streaming.pop(number, None)
                self.outcomes.append(outcome)
            asked += 1

    def began(self, number, outcome):
        if outcome.stream and outcome.status == 200:
            with self.lock:
                self.streaming[number] = outcome.server

    def follows(self, server):
        """How many streams of this server are open."""
        with self.lock:
            return sum(url == server.url for url in self.streaming.values())

    def has_broken(self):
        """Whether a stream has failed that had begun, and said so."""
        with self.lock:
            return any(o.stream and o.status == 200 and o.error for o in self.outcomes)

    def stop(self):
        """Waits for what was asked; returns what became of everything."""
        self.ending = True
        for thread in self.threads:
            thread.join(90)
        if any(thread.is_alive() for thread in self.threads):
            raise RuntimeError("a request has no end")
        return self.outcomes
