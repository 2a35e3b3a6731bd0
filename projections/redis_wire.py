"""The way to Redis: whole exchanges over pooled connections; whatever goes wrong on it is `Unavailable`.

Below redis-py's clients, on its connections, because a transaction here may be larger than one buffer should be, and
because nothing may be sent twice by a helpful retry.

1. An exchange writes a bounded chunk of commands, then reads their replies: neither side piles up a whole batch.
2. A connection on which anything failed, a cancelled wait too, is closed: no reply is ever taken for another's.
3. What writes a batch is sent once; who does not know whether it has arrived asks the checkpoint.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from hiredis import pack_command
from redis.asyncio import BlockingConnectionPool, Connection, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as LostConnection
from redis.exceptions import NoScriptError, RedisError

from mnemolog.domain.errors import Corrupt, Unavailable

_T = TypeVar("_T")
Command = tuple[str | bytes | int, ...]

_CHUNK_BYTES = 1 << 18
_CHUNK = 1000
TIMEOUT = 10.0


def connect(url: str, *, connections: int = 32, timeout: float = TIMEOUT, **options: Any) -> Redis:
    """Return a client for a URL (`redis://`, `rediss://`, `unix://`) as the store wants it: impatient, in bytes.

    `options` are redis-py's, for who logs in and what is trusted.
    """
    pool = BlockingConnectionPool.from_url(
        url,
        max_connections=connections,
        timeout=timeout,
        socket_timeout=None,  # `Link` sets one time limit for a chunk of replies, which costs less than one for each
        socket_connect_timeout=min(timeout, 3.0),
        retry=Retry(NoBackoff(), 0),
        protocol=2,
        **options,
    )
    return Redis(connection_pool=pool)


class Script:
    """A Lua script, known to Redis by its hash once it has run."""

    def __init__(self, text: str) -> None:
        """Take the script."""
        self.text = text
        self.sha = hashlib.sha1(text.encode()).hexdigest()  # noqa: S324 -- it is the name that Redis gives it


class Link:
    """One connection, for as long as one exchange needs it to itself."""

    def __init__(self, connection: Connection, timeout: float) -> None:
        """Take a connection from the pool, and how long a chunk may take, in seconds."""
        self._connection = connection
        self._timeout = timeout

    async def ask(self, *commands: Command) -> list[Any]:
        """Send commands in bounded chunks and return their replies. Raises the first error among these."""
        replies: list[Any] = []
        for chunk in _chunks(commands):
            async with asyncio.timeout(self._timeout):
                await self._connection.send_packed_command(chunk)
                replies += [await self._connection.read_response() for _ in chunk]
        return replies

    async def run(self, script: Script, keys: Sequence[str | bytes], *arguments: str | bytes | int) -> Any:
        """Run a script; Redis is shown its text where it does not know it, as after a restart."""
        rest = (len(keys), *keys, *arguments)
        try:
            (reply,) = await self.ask(("EVALSHA", script.sha, *rest))
        except NoScriptError:
            (reply,) = await self.ask(("EVAL", script.text, *rest))
        return reply

    async def transaction(self, commands: Sequence[Command]) -> list[Any] | None:
        """Run commands as one, all or none; None, and nothing done, if a watched key has changed."""
        # In one round trip: where Redis refuses a command, it does not run the rest (EXECABORT).
        *_, replies = await self.ask(("MULTI",), *commands, ("EXEC",))
        for reply in replies or ():
            if isinstance(reply, Exception):
                message = f"Redis refused part of a transaction ({reply}): someone else writes under our keys; rebuild"
                raise Corrupt(message)
        return None if replies is None else list(replies)


class Wire:
    """The pool, and what its errors are called here."""

    def __init__(self, client: Redis, timeout: float = TIMEOUT) -> None:
        """Take a client, whose pool it is, and how long Redis may take, in seconds."""
        self._client = client
        self._timeout = timeout

    @asynccontextmanager
    async def link(self) -> AsyncIterator[Link]:
        """Give a connection for one exchange. Raises `Unavailable`."""
        pool = self._client.connection_pool
        try:
            connection = await pool.get_connection()  # type: ignore[no-untyped-call]
            try:
                yield Link(connection, self._timeout)
            except BaseException as error:
                await connection.disconnect(nowait=True)
                if isinstance(error, LostConnection):
                    await pool.disconnect(inuse_connections=False)  # a restart cuts the idle ones too
                raise
            finally:
                await pool.release(connection)
        except (RedisError, OSError, TimeoutError) as error:
            raise _named(error) from error

    async def ask(self, *commands: Command) -> list[Any]:
        """Send commands that may be sent twice, and return their replies."""
        return await self._twice(lambda link: link.ask(*commands))

    async def run(self, script: Script, keys: Sequence[str | bytes], *arguments: str | bytes | int) -> Any:
        """Run a script that may run twice."""
        return await self._twice(lambda link: link.run(script, keys, *arguments))

    async def _twice(self, ask: Callable[[Link], Awaitable[_T]]) -> _T:
        """Ask once more where the connection was lost: Redis may have been restarted since it was last used."""
        try:
            async with self.link() as link:
                return await ask(link)
        except Unavailable as error:
            if not isinstance(error.__cause__, LostConnection):
                raise
        async with self.link() as link:
            return await ask(link)

    async def close(self) -> None:
        """Close every connection."""
        await self._client.aclose(close_connection_pool=True)


def _named(error: Exception) -> Exception:
    text = str(error) or "no answer in time"
    if text.startswith("WRONGTYPE"):
        return Corrupt(f"Redis holds something of another kind under our keys ({text}); rebuild the projections")
    return Unavailable(f"the state store (Redis) cannot answer: {text}; try again shortly")


def _chunks(commands: Iterable[Command]) -> Iterable[list[bytes]]:
    chunk: list[bytes] = []
    size = 0
    for command in commands:
        packed = pack_command(command)  # type: ignore[arg-type] # hiredis means a tuple of any length
        chunk.append(packed)
        size += len(packed)
        if size > _CHUNK_BYTES or len(chunk) == _CHUNK:
            yield chunk
            chunk, size = [], 0
    if chunk:
        yield chunk
