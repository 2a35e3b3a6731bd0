"""Queries that are embedded together: each gets its own vector, none waits for others to come, one fails alone."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence

import pytest

from projections.gathering import Gathering

pytestmark = pytest.mark.unit


class Gate:
    """An embedder that works while its gate is open, and remembers what came together."""

    model = "gate@1"
    dimension = 1

    def __init__(self, *, is_open: bool = True) -> None:
        self.calls: list[list[str]] = []
        self.open = threading.Event()
        self.entered = threading.Semaphore(0)
        if is_open:
            self.open.set()

    def embed(self, texts: Sequence[str]) -> Sequence[Sequence[float]]:
        """Return the number that each text is."""
        self.calls.append(list(texts))
        self.entered.release()
        self.open.wait(10)
        return [[float(text)] for text in texts]


async def busy(gathering: Gathering, gate: Gate, *texts: str) -> list[asyncio.Task[Sequence[float]]]:
    """Ask for each of these once the one before is being worked at."""
    asked = []
    for text in texts:
        asked.append(asyncio.create_task(gathering.embed(text)))
        await asyncio.to_thread(gate.entered.acquire, timeout=10)
    return asked


def test_a_query_alone_waits_for_nobody() -> None:
    """It goes through the model at once, by itself."""

    async def run() -> None:
        gate = Gate()
        assert await Gathering(gate).embed("7") == [7.0]
        assert gate.calls == [["7"]]

    asyncio.run(run())


def test_what_comes_meanwhile_goes_together_and_each_gets_its_own() -> None:
    """Two calls may be under way; whoever comes then shares the next ones."""

    async def run() -> None:
        gate = Gate(is_open=False)
        gathering = Gathering(gate)
        asked = await busy(gathering, gate, "0", "1")
        asked += [asyncio.create_task(gathering.embed(str(n))) for n in range(2, 20)]
        await asyncio.sleep(0)
        gate.open.set()
        assert await asyncio.gather(*asked) == [[float(n)] for n in range(20)]
        assert len(gate.calls) <= 4
        assert sorted(text for call in gate.calls for text in call) == sorted(str(n) for n in range(20))

    asyncio.run(run())


def test_a_query_that_cannot_be_embedded_fails_alone() -> None:
    """The others of its batch are answered, and so is whoever comes after."""

    async def run() -> None:
        gate = Gate(is_open=False)
        gathering = Gathering(gate)
        asked = await busy(gathering, gate, "1", "2")
        asked += [asyncio.create_task(gathering.embed(text)) for text in ("3", "no number", "5")]
        await asyncio.sleep(0)
        gate.open.set()
        answers = await asyncio.gather(*asked, return_exceptions=True)
        assert [answer for answer in answers if not isinstance(answer, ValueError)] == [[1.0], [2.0], [3.0], [5.0]]
        assert isinstance(answers[3], ValueError)
        assert await gathering.embed("8") == [8.0]

    asyncio.run(run())


def test_who_has_gone_is_not_embedded_for() -> None:
    """A search that was given up leaves nothing to do, and disturbs nobody."""

    async def run() -> None:
        gate = Gate(is_open=False)
        gathering = Gathering(gate)
        asked = await busy(gathering, gate, "0", "1")
        asked += [asyncio.create_task(gathering.embed(str(n))) for n in range(2, 4)]
        await asyncio.sleep(0)
        asked[0].cancel()
        asked[2].cancel()
        await asyncio.sleep(0)
        gate.open.set()
        assert list(await asyncio.gather(asked[1], asked[3])) == [[1.0], [3.0]]
        assert "2" not in [text for call in gate.calls for text in call]
        assert await gathering.embed("9") == [9.0]

    asyncio.run(run())


def test_a_long_query_goes_alone() -> None:
    """Short ones do not wait for its many windows."""

    async def run() -> None:
        gate = Gate(is_open=False)
        gathering = Gathering(gate)
        long = "1" + "0" * 290 + "." + "0" * 1_000
        asked = await busy(gathering, gate, "1", "2")
        asked += [asyncio.create_task(gathering.embed(text)) for text in ("3", long, "4")]
        await asyncio.sleep(0)
        gate.open.set()
        await asyncio.gather(*asked)
        assert [long] in gate.calls

    asyncio.run(run())
