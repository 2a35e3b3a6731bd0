"""One script over HTTP and on Kafka gives the same facts, but for ids, secrets, times and `source`."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from mnemolog.domain.outcomes import Accepted, Outcome
from mnemolog.domain.record import CONTROL_KEY, FactRecord
from mnemolog.domain.times import to_text
from mnemolog.runtime.folder import Folder
from producers import Publisher, Receipt
from tests.brokers import Kafka
from tests.publishing import ByOwner, InSession, InSpace
from tests.sdk.servers import Embedded
from tests.system.deciding import Deciding

pytestmark = [pytest.mark.system, pytest.mark.timeout(600)]
WAIT = 120.0
USER = "local"
_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z")
_HASH = re.compile(r"[0-9a-f]{64}")
_UNLIKE = {"source", "ce_time"}


class Script:
    """What an agent does, one command after the other; `commands` are their ids in this order."""

    def __init__(self, agent: Publisher) -> None:
        """Publish with this one."""
        self.agent = agent
        self.commands: list[str] = []
        self.told: list[str] = []

    def done(self, receipt: Receipt) -> Outcome:
        """Wait for an outcome."""
        outcome = self.agent.outcome(receipt, WAIT)
        self.commands.append(receipt.command)
        kind = "accepted" if isinstance(outcome.result, Accepted) else str(outcome.result.reason)
        repeated = isinstance(outcome.result, Accepted) and outcome.result.repeated
        self.told.append(kind + " again" * repeated)
        return outcome

    def made(self, receipt: Receipt) -> str:
        """Wait for an acceptance and return the id of what was made."""
        result = self.done(receipt).result
        assert isinstance(result, Accepted), result
        return result.facts[0].subject

    def run(self) -> None:
        """Say something of every kind."""
        agent, done = self.agent, self.done
        space = self.made(agent.create_space(user=USER, description="Über uns", deduplication_key="K1"))
        done(agent.create_space(user=USER, deduplication_key="K1"))
        done(agent.update_space(user=USER, space_id=space, description=None, llm_model_name="m"))
        where: InSpace = {"user": USER, "space_id": space}
        session = self.made(agent.create_session(**where, participant="ann", metadata={"b": 1, "a": None}))
        inside: InSession = {**where, "session_id": session}
        done(agent.update_session(**inside, version=0, description="d"))
        done(agent.update_session(**inside, version=7, description="stale"))
        said = [{"body": {"content": f"☕ {n}", "n": n}, "emitter": {"type": "user", "id": "ann"}} for n in range(3)]
        written = done(agent.append_events(**inside, events=said, key="said"))
        done(agent.append_events(**inside, events=said, key="said"))
        assert isinstance(written.result, Accepted)
        seen = to_text(written.result.facts[0].time)
        change = {"sequence_id": 0, "body": {"content": "tea"}, "created_at": seen}
        done(agent.update_events(**inside, changes=[change]))
        done(agent.update_events(**inside, changes=[change]))
        done(agent.delete_event(**inside, sequence=1))
        owner: ByOwner = {"agent": "bot", "invoker": "user-é"}
        memory = self.made(agent.add_memory(**owner, content="likes tea", metadata={"z": [1.5, {}]}))
        done(agent.update_memory(memory_id=memory, content="likes green tea", metadata=None))
        message = self.made(agent.add_message(**owner, group="g", role="USER", content="hello"))
        done(agent.add_message(**owner, group="g", role="ASSISTANT", content="hello, Ann", metadata={}))
        done(agent.delete_message(message_id=message.removeprefix("message/")))
        done(agent.delete_memory(memory_id=memory))
        done(agent.set_retention(memory_days=30, message_days=None))
        done(agent.delete_session(**inside))
        done(agent.delete_space(user=USER, space_id=space))


def alike(facts: Sequence[FactRecord], commands: Sequence[str]) -> list[str]:
    """Return the facts of the script's commands in its order, ids numbered as they appear, times and hashes blanked."""
    place = {command: number for number, command in reversed(list(enumerate(commands)))}
    erased = {fact.key for fact in facts if fact.value is None}  # Kafka's cleaner takes them some time later
    ours = [f for f in facts if f.key not in erased and f.headers.get("command") in place]
    ours.sort(key=lambda fact: (place[fact.headers["command"]], int(fact.headers["index"])))
    numbers: dict[str, int] = {}

    def numbered(match: re.Match[str]) -> str:
        return f"#{numbers.setdefault(match[0], len(numbers))}"

    texts = []
    for fact in ours:
        headers = {name: text for name, text in fact.headers.items() if name not in _UNLIKE}
        text = json.dumps([fact.key, sorted(headers.items()), json.loads(fact.value or b"")], ensure_ascii=False)
        texts.append(_HASH.sub("hash", _TIME.sub("time", _UUID.sub(numbered, text))))
    return texts


@pytest.fixture(scope="module")
def over_http(
    tmp_path_factory: pytest.TempPathFactory, exported_models: Path
) -> Iterator[tuple[Script, list[FactRecord]]]:
    """Return the script after it has run on the embedded server, and the facts in its folder."""
    base = tmp_path_factory.mktemp("alike")
    with Embedded(base, exported_models).serve("--no-auth", model="hashing") as server:
        with Publisher(server.url) as agent:
            script = Script(agent)
            script.run()
        data = Path(server._where[1])
        yield script, asyncio.run(_facts(Folder(data)))


async def _facts(folder: Folder) -> list[FactRecord]:
    log = folder.log()
    try:
        return [record for record in await log.facts(0, 0, 10_000) if record.key != CONTROL_KEY]
    finally:
        await log.close()


def test_one_script_gives_the_same_facts_over_http_and_on_kafka(
    over_http: tuple[Script, list[FactRecord]], kafka: Kafka, tmp_path: Path
) -> None:
    """Every header and every body, erasure included; and the same outcomes, refusals and repeats among them."""
    here, here_facts = over_http
    cluster = replace(kafka.topics(), poll=0.02, fetch_wait=20)
    options = {"tenant": "local", "actor": "anonymous", "topic_prefix": cluster.prefix}
    with Deciding(cluster, tmp_path) as deciding:
        with Publisher(cluster.servers, **options) as agent:
            there = Script(agent)
            there.run()
        there_facts = deciding.facts()
    assert here.told == there.told
    assert {"accepted", "accepted again", "key-taken", "version-mismatch", "stale-event"} <= set(here.told)
    one, other = alike(here_facts, here.commands), alike(there_facts, there.commands)
    assert len(one) > 10
    for mine, theirs in zip(one, other, strict=True):
        assert mine == theirs
