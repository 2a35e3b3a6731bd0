"""One address in front of several servers, as a load balancer has it: each connection goes to the next one in turn."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import socket
import threading
from collections.abc import Iterator, Sequence
from urllib.parse import urlsplit

_CHUNK = 1 << 16


@contextlib.contextmanager
def front(urls: Sequence[str]) -> Iterator[str]:
    """Forward connections until the end; gives the address."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        stop, loops = asyncio.Event(), list[asyncio.AbstractEventLoop]()
        thread = threading.Thread(target=lambda: asyncio.run(_serve(listening, urls, stop, loops)), name="front")
        thread.start()
        try:
            yield "http://{}:{}".format(*listening.getsockname())
        finally:
            loops[0].call_soon_threadsafe(stop.set)
            thread.join()


async def _serve(
    listening: socket.socket, urls: Sequence[str], stop: asyncio.Event, loops: list[asyncio.AbstractEventLoop]
) -> None:
    loops.append(asyncio.get_running_loop())
    turns = itertools.cycle([(part.hostname, part.port) for part in map(urlsplit, urls)])
    forwarding = set[asyncio.Task[None]]()

    def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(_forward(reader, writer, *next(turns)))
        forwarding.add(task)
        task.add_done_callback(forwarding.discard)

    server = await asyncio.start_server(connected, sock=listening)
    await stop.wait()
    server.close()
    for task in list(forwarding):
        task.cancel()
    await asyncio.gather(*forwarding, return_exceptions=True)


async def _forward(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, host: str | None, port: int | None
) -> None:
    try:
        there, here = await asyncio.open_connection(host, port)
    except OSError:  # a server that is not there: its caller sees that the connection ends
        writer.close()
        return
    try:
        await asyncio.gather(_pour(reader, here), _pour(there, writer))
    except OSError:  # either end may hang up; the other then sees it
        pass
    finally:
        here.close()
        writer.close()


async def _pour(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    while data := await source.read(_CHUNK):
        target.write(data)
        await target.drain()
    target.write_eof()
