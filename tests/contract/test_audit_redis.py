"""An audit of the views in Redis: no false alarm, also beside a projector at work; each single change is found."""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import Iterator
from typing import Any

import pytest

from mnemolog.audit.found import Found
from mnemolog.audit.views import Folded, compare
from projections import redis_wire
from projections.dump_redis import RedisDump
from projections.projector import Projector, project
from projections.redis_plan import MARK
from tests.histories import Told
from tests.redis_stores import Corner

pytestmark = pytest.mark.contract

CHANGES = int(os.environ.get("MNEMOLOG_TEST_TAMPERINGS", "60"))
PARTITIONS = 2


@pytest.fixture
def corner() -> Iterator[Corner]:
    """Give a corner of the shared server, cleared afterwards."""
    one = Corner()
    yield one
    asyncio.run(one.clear())


async def differences(told: Told, dump: RedisDump) -> Found:
    """Compare every partition."""
    found = Found()
    for partition in range(PARTITIONS):
        await compare(told.log, dump, Folded(project), partition, found)
    return found


async def changed(ask: Any, corner: Corner, dice: random.Random) -> tuple[str, bytes, bytes]:
    """Change one thing; return what was done, to which key, and what that held before."""
    (keys,) = await ask(("KEYS", f"{corner.app}:*"))
    key = dice.choice(sorted(key for key in keys if not key.endswith(b":at")))
    (before,) = await ask(("DUMP", key))
    how = dice.choice(["drop", "edit", "edit", "add"])
    if how == "drop":
        await ask(("UNLINK", key))
    elif b":r:" in key:
        (fields,) = await ask(("HGETALL", key))
        name = dice.choice(sorted(fields[::2]))
        if how == "add":
            await ask(("HSET", key, "more", "1"))
        elif name == MARK:
            await ask(("HDEL", key, MARK))
        else:
            await ask(("HSET", key, name, '"edited"'))
    else:
        (members,) = await ask(("ZRANGE", key, 0, -1))
        member = dice.choice(members)
        if how == "add":
            await ask(("ZADD", key, 0, member + b"x"))
        elif dice.random() < 0.5:
            await ask(("ZREM", key, member))
        else:
            await ask(("ZADD", key, 1, member))
    return f"{how} {key!r}", key, before


async def _tampered(corner: Corner) -> list[str]:
    told = await Told(31, PARTITIONS).more(250)
    store = corner.store()
    for partition in range(PARTITIONS):
        while await Projector(told.log, store, partition).step():
            pass
    dump, wire = RedisDump(redis_wire.connect(corner.url), app=corner.app), corner.wire()
    assert await differences(told, dump) == Found()
    missed = []
    for number in range(CHANGES):
        what, key, before = await changed(wire.ask, corner, random.Random(number))
        if not (await differences(told, dump)).count:
            missed.append(what)
        await wire.ask(("UNLINK", key), ("RESTORE", key, 0, before))
    assert await differences(told, dump) == Found(), "each change was taken back"
    await dump.close()
    await corner.close()
    return missed


def test_every_change_in_redis_is_found(corner: Corner) -> None:
    """A row or an index that is gone, a field, a place or a member that is another; nothing where nothing changed."""
    assert asyncio.run(_tampered(corner)) == []


def test_a_projector_at_work_is_no_difference(corner: Corner) -> None:
    """What changes while it is read is read again, where the checkpoint stood still."""

    async def told() -> None:
        past = await Told(32, PARTITIONS).more(60)
        store, going = corner.store(), True

        async def work() -> None:
            while going:
                for partition in range(PARTITIONS):
                    await Projector(past.log, store, partition).step()
                await past.more(2)

        for partition in range(PARTITIONS):
            await Projector(past.log, store, partition).step()
        working = asyncio.create_task(work())
        dump = RedisDump(redis_wire.connect(corner.url), app=corner.app)
        for _ in range(5):
            assert await differences(past, dump) == Found()
        going = False
        await working
        await dump.close()
        await corner.close()

    asyncio.run(told())
