"""The usage log of a data folder: shown by a command, swept by policy, gone with what was erased."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from mnemolog.domain.codec import decode_fact
from mnemolog.domain.errors import Unavailable
from mnemolog.domain.ids import make_id
from mnemolog.domain.times import DAY, to_text
from mnemolog.domain.usage import HOUR, Usage, UsageRecord, UsageScope, UsageWanted, slot_of_scope
from mnemolog.gateway.usage import Recorder
from mnemolog.runtime import usage as module
from mnemolog.runtime.folder import Folder, now
from mnemolog.runtime.usage import Flushing
from mnemolog.runtime.usage_erasing import Places, UsageErasing
from tests import wishes
from tests.given import NOON
from tests.unit.pipeline import Pipeline
from tests.unit.runtime.commands import Run, bring, facts, made
from workers.usage_memory import MemoryUsage

pytestmark = pytest.mark.unit
ANN, BOB = UsageScope("bot", "ann"), UsageScope("bot", "bob")
_SERIAL = iter(range(1 << 30))


def used(scope: UsageScope, at: int, actor: str = "client/a", tenant: str = "acme") -> UsageRecord:
    """Return a record that began at an instant."""
    key = make_id(at, slot_of_scope(tenant, scope), next(_SERIAL).to_bytes(32, "big"), 0)
    return UsageRecord(key, tenant, actor, "search", scope, at, at, 3, 7)


def keep(data: Path, *records: UsageRecord) -> None:
    """Put records into a folder's usage log."""

    async def write() -> None:
        usage = Folder(data).usage()
        await usage.write(records)
        await usage.close()

    asyncio.run(write())


def shown(run: Run, *options: str) -> list[dict[str, Any]]:
    """Return what the command shows."""
    return [json.loads(line) for line in run("audit", "usage", "--json", *options).out.splitlines()]


def decided(run: Run) -> None:
    """Have decided what was brought."""
    made(run("tokens", "create", "--tenant", "acme", "--user", f"u{next(_SERIAL)}", "--json"))


# ---- the command -----------------------------------------------------------------------------------------------------


def test_the_command_shows_who_read_what(data: Path, run: Run) -> None:
    """By tenant, owner, actor and time; the newest within a limit; 1 and a word where there is nothing."""
    decided(run)
    keep(data, used(ANN, NOON), used(BOB, NOON + DAY, "token/t"), used(UsageScope(), NOON + 2, tenant="bolt"))
    assert [row["first"] for row in shown(run)] == [to_text(NOON), to_text(NOON + 2), to_text(NOON + DAY)]
    assert [row["scope"] for row in shown(run, "--tenant", "acme", "--agent", "bot", "--invoker", "bob")] == [
        {"agent": "bot", "invoker": "bob"}
    ]
    assert [row["actor"] for row in shown(run, "--since", to_text(NOON + 1), "--tenant", "acme")] == ["token/t"]
    said = run("audit", "usage", "--limit", "1")
    assert said.out.endswith("acme  token/t  search of agent bot invoker bob: 3 calls, 7 found\n")
    assert said.err == "2 older records are not shown; see --limit\n"
    assert run("audit", "usage", "--tenant", "nobody").code == 1
    assert run("audit", "usage", "--since", "once").code == 2
    assert run("audit", "usage", "--limit", "0").code == 2


def test_a_folder_that_is_none_is_named(data: Path, run: Run) -> None:
    """And is not made by looking."""
    said = run("audit", "usage")
    assert said.code == 1
    assert str(data) in said.err
    assert not data.exists()


# ---- retention -------------------------------------------------------------------------------------------------------


def test_old_usage_records_are_swept_like_the_others(data: Path, run: Run) -> None:
    """By the tenant's policy, from their beginning; counted first by a dry run; nobody else's."""
    decided(run)
    old, young = now() - 40 * DAY, now() - 20 * DAY
    keep(data, used(ANN, old), used(ANN, young), used(ANN, old, tenant="bolt"))
    assert run("retention", "sweep").out == "nothing was due\n"
    bring(data, wishes.set_retention(usage_log_days=30))
    decided(run)
    counted = made(run("retention", "sweep", "--dry-run", "--json"))["records"]
    assert counted == [{"tenant": "acme", "category": "usage records", "count": 1}]
    assert run("retention", "sweep").out == "acme: 1 usage records deleted\n"
    assert [(row["tenant"], row["first"]) for row in shown(run)] == [("bolt", to_text(old)), ("acme", to_text(young))]


def test_with_zero_days_all_goes_whose_hour_is_over(data: Path, run: Run) -> None:
    """A record that may still roll waits for the next sweep, or it would be written again."""
    decided(run)
    keep(data, used(ANN, now() - HOUR), used(ANN, now()))
    bring(data, wishes.set_retention(usage_log_days=0))
    decided(run)
    assert run("retention", "sweep", "--as-of", to_text(now() // HOUR * HOUR)).out == "acme: 1 usage records deleted\n"
    assert len(shown(run)) == 1


# ---- erasure ---------------------------------------------------------------------------------------------------------


def test_guarantee_7_an_owner_takes_his_usage_records_with_him(data: Path, run: Run) -> None:
    """Out of every file, with no server running; other owners' stay."""
    name = "a-name-nobody-else-has"
    bring(data, wishes.add_memory("likes tea", invoker=name))
    decided(run)
    keep(data, used(UsageScope("bot", name), NOON), used(BOB, NOON))
    would = made(run("erase", "owner", "bot", name, "--tenant", "acme", "--dry-run", "--json"))["would_go"]
    assert would == {"memories": 1, "messages": 0, "usage records": 1}
    assert run("erase", "owner", "bot", name, "--tenant", "acme").code == 0
    assert [row["scope"]["invoker"] for row in shown(run)] == ["bob"]
    for path in data.rglob("*"):
        assert not path.is_file() or name.encode() not in path.read_bytes(), path


def test_guarantee_7_a_session_and_a_space_take_theirs(data: Path, run: Run) -> None:
    """When the last of their facts is taken."""
    bring(data, wishes.create_space("u1"))
    decided(run)
    space = next(f.stream for f in map(decode_fact, facts(data)) if "/space/" in f.stream).rpartition("/")[2]
    bring(data, wishes.create_session(space))
    bring(data, wishes.create_session(space))
    decided(run)
    first, second = [f.subject for f in map(decode_fact, facts(data)) if "session-created" in f.payload.TYPE]
    keep(data, *(used(UsageScope(stream=name), NOON) for name in (f"session/{first}", f"session/{second}")))
    keep(data, used(UsageScope(stream=f"space/{space}"), NOON))
    assert run("erase", "session", first, "--tenant", "acme").code == 0
    assert {row["scope"]["stream"] for row in shown(run)} == {f"session/{second}", f"space/{space}"}
    assert run("erase", "space", space, "--tenant", "acme").code == 0
    assert shown(run) == []


def test_a_tenant_takes_all_of_its_usage_records(data: Path, run: Run) -> None:
    """Also those of reads without an owner; no other tenant's."""
    decided(run)
    keep(data, used(UsageScope(), NOON), used(ANN, NOON), used(ANN, NOON, tenant="bolt"))
    assert "2 usage records" in run("erase", "tenant", "acme").out
    assert [row["tenant"] for row in shown(run)] == ["bolt"]


class Followed:
    """A log in which an owner is erased, followed as on Kafka: the recorders are in other processes."""

    def __init__(self, tmp_path: Path) -> None:
        self.line = Pipeline(1)
        self.usage = MemoryUsage()
        self.places = Places(tmp_path / "places")
        self.now = 0

    def erasing(self) -> UsageErasing:
        """Return a follower, as another process would have it."""
        return UsageErasing(self.line.log, self.usage, self.places, clock=lambda: self.now)

    def erase(self) -> int:
        """Erase the owner and return when that was."""
        self.line.say(wishes.add_memory("likes tea"), wishes.erase_owner())
        self.now = self.line.now
        return self.line.now

    async def count(self, **wanted: Any) -> int:
        """Return how many records there are."""
        return await self.usage.count(UsageWanted(**wanted))


def test_what_another_gateway_writes_again_is_removed_again(tmp_path: Path) -> None:
    """When the hour of the record is over; what was read afterwards stays."""
    followed = Followed(tmp_path)
    erased = followed.erase()
    rolling, later = used(ANN, erased - 1), used(ANN, erased + 1)

    async def story() -> None:
        await followed.usage.write([rolling, later])
        erasing = followed.erasing()
        await erasing.step()
        assert await followed.count(before=erased) == 0
        await followed.usage.write([rolling])  # a gateway that has not heard of it
        followed.now += HOUR
        await erasing.step()
        assert await followed.count(before=erased) == 1
        followed.now += HOUR
        await erasing.step()
        assert [await followed.count(before=erased), await followed.count()] == [0, 1]

    asyncio.run(story())


def test_a_follower_that_is_killed_goes_on_before_what_waits(tmp_path: Path) -> None:
    """Its successor removes it once more, in its time; afterwards the place is behind it."""
    followed = Followed(tmp_path)
    erased = followed.erase()
    rolling = used(ANN, erased - 1)

    async def story() -> None:
        await followed.usage.write([rolling])
        await followed.erasing().step()
        end = await followed.line.log.end(0)
        assert followed.places.read()[0] < end
        await followed.usage.write([rolling])
        followed.now += 2 * HOUR
        await followed.erasing().step()
        assert await followed.count() == 0
        assert followed.places.read() == {0: end}

    asyncio.run(story())


def test_an_empty_usage_log_follows_from_the_end(tmp_path: Path) -> None:
    """There is nothing to remove, however long the log is."""
    followed = Followed(tmp_path)
    followed.erase()

    async def story() -> None:
        await followed.erasing().step()
        assert followed.places.read() == {0: await followed.line.log.end(0)}

    asyncio.run(story())


# ---- writing ---------------------------------------------------------------------------------------------------------


class Stubborn(MemoryUsage):
    """A usage log that is away for a while."""

    def __init__(self) -> None:
        super().__init__()
        self.away = True
        self.written = asyncio.Event()

    async def write(self, records: Any) -> None:
        """Refuse, while it is away."""
        if self.away:
            self.away = False
            raise Unavailable("away")  # noqa: EM101 -- nobody reads it
        await super().write(records)
        if records:
            self.written.set()


class Hanging(MemoryUsage):
    """A usage log that takes nothing and says nothing."""

    async def write(self, records: Any) -> None:
        """Wait for ever."""
        del records
        await asyncio.Event().wait()


def test_a_usage_log_that_hangs_does_not_hold_up_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """What it has not taken by then is given up."""
    monkeypatch.setattr(module, "_PATIENCE", 0.01)
    recorder = Recorder(now, lambda n: next(_SERIAL).to_bytes(n, "big"))

    @asynccontextmanager
    async def opened() -> Any:
        yield Hanging()

    async def story() -> None:
        flushing = Flushing(recorder, opened, pause=3_600)
        recorder.used("acme", "client/a", "read", ANN, 1)
        running = asyncio.create_task(flushing.run())
        await flushing.stop()
        async with asyncio.timeout(30):
            await running

    asyncio.run(story())
    assert len(recorder.take()) == 1


def test_what_cannot_be_written_now_is_written_later() -> None:
    """And what is left at the stop is written then."""
    usage, recorder = Stubborn(), Recorder(now, lambda n: next(_SERIAL).to_bytes(n, "big"))

    @asynccontextmanager
    async def opened() -> Any:
        yield usage

    async def story() -> Usage:
        flushing = Flushing(recorder, opened, pause=0.001)
        recorder.used("acme", "client/a", "read", ANN, 1)
        running = asyncio.create_task(flushing.run())
        await usage.written.wait()
        recorder.used("acme", "client/a", "list", ANN, 1)
        await flushing.stop()
        await running
        return usage

    asyncio.run(story())
    assert asyncio.run(usage.count(UsageWanted())) == 2
    assert recorder.dropped == 0
