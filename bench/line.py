"""A client that costs next to nothing: prepared requests over bare sockets, so that a figure is the server's own.

A client library's time on the same two cores would be most of what is measured.
"""

from __future__ import annotations

import json
import selectors
import socket
import time
from collections.abc import Mapping, Sequence
from typing import Any

_HEAD_END = b"\r\n\r\n"
_LENGTH = b"content-length:"


class Line:
    """One keep-alive connection to a server."""

    def __init__(self, url: str, authorization: str) -> None:
        """Connect; every request carries the authorization."""
        self.url, self.authorization = url, authorization
        host, port = url.removeprefix("http://").split(":")
        self.socket = socket.create_connection((host, int(port)))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._got = bytearray()

    def request(self, method: str, path: str, body: object = None, headers: Mapping[str, str] | None = None) -> bytes:
        """Return the bytes of a request; a body that is text is a form."""
        content = b"" if body is None else body.encode() if isinstance(body, str) else json.dumps(body).encode()
        lines = {"host": "bench", "authorization": self.authorization, "content-length": str(len(content))}
        if isinstance(body, str):
            lines["content-type"] = "application/x-www-form-urlencoded"
        lines |= headers or {}
        head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
        return f"{method} {path} HTTP/1.1\r\n{head}\r\n".encode() + content

    def ask(self, prepared: bytes) -> bytes:
        """Send a prepared request and return the body of its answer. Raises RuntimeError if it is none of success."""
        self.socket.sendall(prepared)
        while (answer := self.answered()) is None:
            pass
        return answer

    def answered(self) -> bytes | None:
        """Read once; return the answer's body if it is complete by now."""
        received = self.socket.recv(1 << 20)
        if not received:
            message = "the server closed the connection"
            raise RuntimeError(message)
        self._got += received
        head = self._got.find(_HEAD_END)
        if head < 0:
            return None
        lines = bytes(self._got[:head])
        at = lines.lower().find(_LENGTH)
        size = int(lines[at + len(_LENGTH) :].split(b"\r", 1)[0]) if at >= 0 else 0
        start = head + len(_HEAD_END)
        if len(self._got) < start + size:
            return None
        body = bytes(self._got[start : start + size])
        del self._got[: start + size]
        if not lines.startswith(b"HTTP/1.1 2"):
            message = f"{lines[:60]!r}: {body[:500]!r}"
            raise RuntimeError(message)
        return body

    def json(self, method: str, path: str, body: object = None) -> Any:
        """Ask and read the answer."""
        return json.loads(self.ask(self.request(method, path, body)))

    def again(self) -> Line:
        """Return another connection to the same server."""
        return Line(self.url, self.authorization)


def latencies(line: Line, prepared: bytes, rounds: int) -> list[float]:
    """Return the milliseconds of each of so many requests, one after the other, sorted."""
    found = []
    for _ in range(rounds):
        start = time.perf_counter()
        line.ask(prepared)
        found.append((time.perf_counter() - start) * 1e3)
    return sorted(found)


def rate(lines: Sequence[Line], prepared: bytes, total: int) -> float:
    """Return requests per second of clients that each send the next one when the last is answered."""
    waiting = selectors.DefaultSelector()
    for line in lines:
        waiting.register(line.socket, selectors.EVENT_READ, line)
    start = time.perf_counter()
    for line in lines:
        line.socket.sendall(prepared)
    sent, done = len(lines), 0
    while done < total:
        for key, _ in waiting.select():
            if key.data.answered() is None:
                continue
            done += 1
            if sent < total:
                key.data.socket.sendall(prepared)
                sent += 1
    took = time.perf_counter() - start
    waiting.close()
    return total / took


def middle(found: Sequence[float], share: float = 0.5) -> float:
    """Return a percentile of sorted figures."""
    return round(found[min(len(found) - 1, int(len(found) * share))], 2)
