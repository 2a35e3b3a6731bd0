"""A keep-alive HTTP connection that costs little, so that the load measures the server and not its client."""

from __future__ import annotations

import asyncio
import json
from typing import Any, Self
from urllib.parse import urlsplit

_MOST = 64 << 20


class Answered(Exception):
    """The server answered with something else than success."""


class Connection:
    """One connection of one agent; opened at the first request, and again after it was lost."""

    def __init__(self, url: str, headers: dict[str, str]) -> None:
        """Name the server, and what goes with every request."""
        parts = urlsplit(url)
        self._host, self._port = parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
        self._secure = parts.scheme == "https"
        lines = {"Host": parts.netloc, "Content-Type": "application/json", **headers}
        self._lines = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
        self._open: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def __aenter__(self) -> Self:
        """Do nothing yet."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close it."""
        if self._open is not None:
            self._open[1].close()
            self._open = None

    async def ask(self, method: str, path: str, body: Any = None, **more: str) -> Any:
        """Send a request and return what the answer says. Raises Answered unless it is a success."""
        if self._open is None:
            self._open = await asyncio.open_connection(self._host, self._port, ssl=self._secure or None, limit=_MOST)
        reader, writer = self._open
        raw = b"" if body is None else json.dumps(body).encode()
        extra = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in more.items())
        head = f"{method} {path} HTTP/1.1\r\n{self._lines}{extra}Content-Length: {len(raw)}\r\n\r\n"
        try:
            writer.write(head.encode() + raw)
            await writer.drain()
            status, text = await _answer(reader)
        except BaseException:
            writer.close()
            self._open = None
            raise
        if not 200 <= status < 300:  # noqa: PLR2004 -- HTTP's success
            message = f"{method} {path.partition('?')[0]}: {status} {text[:200].decode(errors='replace')}"
            raise Answered(message)
        return json.loads(text) if text else None


async def _answer(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:])}
    return int(head[0].split()[1]), await reader.readexactly(int(headers.get("content-length", "0")))
