"""HTTP/1.1 by hand over one socket, so that it can be done wrong on purpose."""

import asyncio
import json
import socket
import struct
import time


class Gone(Exception):
    """The server closed the connection before it had answered."""


class Answer:
    """A whole answer."""

    def __init__(self, status, headers, body):
        self.status, self.headers, self.body = status, headers, body

    def json(self):
        return json.loads(self.body)

    def param(self):
        """The field that an error names."""
        try:
            return self.json()["error"]["param"]
        except (ValueError, KeyError, TypeError):
            return None


class Connection:
    """A connection, with what was read but not yet used."""

    def __init__(self, sock):
        self.sock, self.held = sock, b""

    @classmethod
    async def open(cls, address, timeout=5.0, receive_buffer=None):
        sock = socket.socket()
        sock.setblocking(False)
        if receive_buffer:
            # Has to be set before connecting, as it bounds the window that is offered.
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            async with asyncio.timeout(timeout):
                await asyncio.get_running_loop().sock_connect(sock, address)
        except BaseException:
            sock.close()
            raise
        return cls(sock)

    async def send(self, data):
        await asyncio.get_running_loop().sock_sendall(self.sock, data)

    def half_close(self):
        self.sock.shutdown(socket.SHUT_WR)

    def close(self):
        self.sock.close()

    def reset(self):
        """Closes it without a word: the other side gets a reset."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()

    async def more(self):
        """Reads something more; false at the end."""
        try:
            data = await asyncio.get_running_loop().sock_recv(self.sock, 1 << 16)
        except OSError:
            return False
        self.held += data
        return bool(data)

    async def until(self, mark):
        """What comes before `mark`, which is taken too."""
        while mark not in self.held:
            if not await self.more():
                raise Gone(f"closed after {self.held[:80]!r}")
        before, self.held = self.held.split(mark, 1)
        return before

    async def exactly(self, count):
        parts, have = [], 0
        while have < count:
            if not self.held and not await self.more():
                raise Gone("closed in the middle of a body")
            part, self.held = self.held[: count - have], self.held[count - have :]
            parts.append(part)
            have += len(part)
        return b"".join(parts)

    async def head(self):
        """The status and the headers of the next answer, 100 Continue too."""
        lines = (await self.until(b"\r\n\r\n")).split(b"\r\n")
        words = lines[0].split(b" ", 2)
        if not lines[0].startswith(b"HTTP/1.") or len(words) < 2 or not words[1].isdigit():
            raise Gone(f"not HTTP: {lines[0][:80]!r}")
        headers = {}
        for line in lines[1:]:
            name, _, value = line.partition(b":")
            headers[name.decode("latin-1").lower()] = value.strip().decode("latin-1")
        return int(words[1]), headers

    async def body(self, headers):
        if "chunked" in headers.get("transfer-encoding", ""):
            chunks = []
            while size := int((await self.until(b"\r\n")).split(b";")[0], 16):
                chunks.append(await self.exactly(size))
                await self.until(b"\r\n")
            await self.until(b"\r\n")
            return b"".join(chunks)
        if "content-length" in headers:
            return await self.exactly(int(headers["content-length"]))
        while await self.more():
            pass
        body, self.held = self.held, b""
        return body

    async def answer(self, timeout=30.0):
        async with asyncio.timeout(timeout):
            while True:
                status, headers = await self.head()
                if status >= 200:
                    return Answer(status, headers, await self.body(headers))

    async def closed(self, timeout):
        """Seconds until the server closes it; `None` if it does not. What comes is dropped,
        but for the first 64 KiB."""
        start = time.monotonic()
        try:
            async with asyncio.timeout(timeout):
                while await self.more():
                    self.held = self.held[: 1 << 16]
        except TimeoutError:
            return None
        return time.monotonic() - start

    def status(self):
        """The status of the answer that is held; 0 if there is none."""
        words = self.held.split(b" ", 2)
        known = self.held.startswith(b"HTTP/1.") and len(words) > 1 and words[1].isdigit()
        return int(words[1]) if known else 0


def head(method, path, headers=(), length=None, host="localhost"):
    """The head of a request. `headers` are whole lines."""
    lines = [f"{method} {path} HTTP/1.1"]
    if host is not None:
        lines.append(f"Host: {host}")
    if length is not None:
        lines.append(f"Content-Length: {length}")
        if not any(h.lower().startswith("content-type:") for h in headers):
            lines.append("Content-Type: application/json")
    return "\r\n".join([*lines, *headers, "", ""]).encode("latin-1")


async def ask(address, method, path, body=None, headers=(), timeout=30.0, host="localhost"):
    """One request on a connection of its own. The answer is read while the body is sent, as
    a server may refuse by the head alone."""
    if isinstance(body, (dict, list)):
        body = json.dumps(body).encode()
    length = None if body is None else len(body)
    connection = await Connection.open(address)

    async def send():
        await connection.send(head(method, path, ["Connection: close", *headers], length, host))
        if body:
            await connection.send(body)

    sending = asyncio.ensure_future(send())
    try:
        return await connection.answer(timeout)
    finally:
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)
        connection.close()


async def status(address, *what, **more):
    """As `ask`, but only the status; 0 if the connection ended without one."""
    try:
        return (await ask(address, *what, **more)).status
    except (Gone, OSError, TimeoutError):
        return 0
