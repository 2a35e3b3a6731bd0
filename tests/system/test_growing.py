"""Growing: from a data folder to Kafka, to more partitions and back, and a restored log that forgets again."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from mnemolog.domain.outcomes import Accepted
from mnemolog.runtime.cli import main
from tests.brokers import Kafka
from tests.servers_redis import shared_redis
from tests.system.gateways import Workers
from tests.system.sequencers import Sequencers
from tests.system.test_audit_kafka import lived, projected, use
from tests.wishes import add_memory, delete_memory
from workers.kafka_cluster import Cluster

pytestmark = [pytest.mark.system, pytest.mark.timeout(600)]


def ran(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """Run a command, which must succeed; return what it printed."""
    code = main(arguments)
    said = capsys.readouterr()
    assert code == 0, said
    return said.out


def heads(folder: Path) -> dict[str, dict[str, object]]:
    """Return the heads of an export."""
    manifest = json.loads((folder / "manifest.json").read_bytes())
    assert isinstance(manifest["heads"], dict)
    return manifest["heads"]


async def tell(cluster: Cluster, folder: Path, text: str) -> str:
    """Have one more memory decided; return its id."""
    folder.mkdir()  # noqa: ASYNC240 -- a test has no other to hold up
    async with Sequencers(cluster, folder) as sequencers:
        outcome = await sequencers.tell(add_memory(text))
        assert isinstance(outcome.result, Accepted)
        return outcome.result.facts[0].subject


def test_a_log_grows_and_shrinks_and_stays_the_same(
    kafka: Kafka, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A folder, 4 partitions, 8, 4 again: heads are equal, audits are sound, new commands are taken on the way."""
    monkeypatch.chdir(tmp_path)
    first, second = kafka.topics(2), kafka.topics(4)
    use(monkeypatch, first)
    asyncio.run(lived(first, tmp_path / "state", owners=30))
    ran(capsys, "audit", "export", "first")
    monkeypatch.setenv("MNEMOLOG_RUNTIME", "embedded")
    ran(capsys, "audit", "import", "first", "--data", "data")
    ran(capsys, "clients", "create", "--tenant", "acme", "--data", "data")
    ran(capsys, "audit", "export", "grown", "--data", "data")

    use(monkeypatch, second)
    ran(capsys, "audit", "import", "grown")
    asyncio.run(tell(second, tmp_path / "state-2", "said on four partitions"))
    ran(capsys, "audit", "export", "four")
    more, back = f"{second.prefix}more.", f"{second.prefix}back."
    move = ("topics", "repartition", "--to-partitions", "8", "--to-prefix", more)
    assert "heads of all slots are equal" in ran(capsys, *move)
    assert "heads of all slots are equal" in ran(capsys, *move), "said again, it finds all there"
    third = Cluster(second.servers, 8, more)
    use(monkeypatch, third)
    ran(capsys, "audit", "export", "eight")
    assert (tmp_path / "eight" / "facts.jsonl").read_bytes() == (tmp_path / "four" / "facts.jsonl").read_bytes()
    assert heads(tmp_path / "eight") == heads(tmp_path / "four")
    asyncio.run(tell(third, tmp_path / "state-3", "said on eight partitions"))
    asyncio.run(projected(third))
    assert "nothing differs" in ran(capsys, "audit", "verify")

    ran(capsys, "topics", "repartition", "--to-partitions", "4", "--to-prefix", back)
    fourth = Cluster(second.servers, 4, back)
    use(monkeypatch, fourth)
    ran(capsys, "audit", "export", "back")
    asyncio.run(tell(fourth, tmp_path / "state-4", "said after all"))
    asyncio.run(projected(fourth))
    assert "nothing differs" in ran(capsys, "audit", "verify")
    assert len(heads(tmp_path / "back")) >= len(heads(tmp_path / "eight"))


def test_guarantee_7_an_older_export_forgets_again_on_kafka(
    kafka: Kafka, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What was erased after an export is erased in the topics that it is imported into, by the list of today."""
    monkeypatch.chdir(tmp_path)
    first, second = kafka.topics(2), kafka.topics(4)
    use(monkeypatch, first)

    async def story() -> None:
        (tmp_path / "state").mkdir()
        async with Sequencers(first, tmp_path / "state") as sequencers:
            for number in range(6):
                outcome = await sequencers.tell(add_memory(f"secret {number}", invoker=f"i{number}"))
                assert isinstance(outcome.result, Accepted)
                ids.append(outcome.result.facts[0].subject)
            await asyncio.to_thread(ran, capsys, "audit", "export", "before")
            for identifier in ids[:3]:
                await sequencers.tell(delete_memory(identifier))

    ids: list[str] = []
    asyncio.run(story())
    assert ran(capsys, "erasures", "list", "list").startswith("3 erasures")
    use(monkeypatch, second)
    ran(capsys, "audit", "import", "before")
    with Workers(second, shared_redis()):
        assert ran(capsys, "erasures", "apply", "list").startswith("3 things")
        assert ran(capsys, "erasures", "apply", "list").startswith("0 things")
        assert "nothing differs" in ran(capsys, "audit", "verify")
    ran(capsys, "audit", "export", "after")
    text = (tmp_path / "after" / "facts.jsonl").read_text()
    assert [f"secret {number}" in text for number in range(6)] == [False] * 3 + [True] * 3
