"""A tenant that must sign, on a real Kafka with real processes: its key's commands count, and the service's own."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from mnemolog.domain.outcomes import Accepted, Outcome, Reason, Rejected
from mnemolog.domain.record import FactRecord
from mnemolog.runtime.process import ServerProcess
from producers import NotAllowed, Publisher
from producers.signing import KeyFile, renewed
from tests.brokers import Kafka
from tests.killing.processes import PATIENCE, Deployment, Node
from tests.publishing import ByOwner
from tests.servers_redis import RedisServer
from tests.signing import AUTHORITY
from tests.system.sequencers import everything
from tests.waiting import until
from workers.log_kafka import KafkaLog

pytestmark = [pytest.mark.system, pytest.mark.timeout(300)]

SIGNED = {"signed_tenants": "acme", "authorities": AUTHORITY.public, "authority_key": (b"a" * 32).hex()}
MEMORY: ByOwner = {"agent": "a", "invoker": "i"}


class Whole:
    """One worker with every role and one gateway; the tenant acme must sign, and what is deleted has no grace."""

    def __init__(self, kafka: Kafka, redis: RedisServer, folder: Path) -> None:
        """Start them."""
        deployment = Deployment(kafka, redis, folder, (), None, grace_days="0", **SIGNED)
        self.cluster, self.environment = deployment.cluster, deployment.environment
        self.worker = Node("all", folder / "worker", self.environment)
        self.worker.start()
        (folder / "gateway").mkdir()
        self.gateway = ServerProcess(folder / "gateway" / "data", environment=self.environment)
        self.url = self.gateway.wait_ready(PATIENCE).url

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run `mnemolog …` and return what it left behind."""
        command = [sys.executable, "-m", "mnemolog.runtime.cli", *arguments]
        return subprocess.run(command, env=self.environment, capture_output=True, text=True, check=False)

    def operate(self, *arguments: str) -> Any:
        """Run `mnemolog …`, which must succeed, and return the JSON it prints."""
        done = self.run(*arguments, "--json")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def facts(self) -> list[tuple[str, str, str]]:
        """Return tenant, actor and type of each fact that is there."""
        headers = [record.headers for record in asyncio.run(self._facts())]
        return [(one["tenant"], one["actor"], one["ce_type"]) for one in headers if "actor" in one]

    async def _facts(self) -> list[FactRecord]:
        log = KafkaLog(self.cluster)
        await log.start()
        try:
            return [one for p in range(self.cluster.partitions) for one in await everything(log, "facts", p)]
        finally:
            await log.close()

    def publisher(self, **options: Any) -> Publisher:
        """Return a publisher to the topics, as an agent that may write them has it."""
        return Publisher(self.cluster.servers, topic_prefix=self.cluster.prefix, **options)

    def stop(self) -> None:
        """End them."""
        self.gateway.stop()
        self.worker.stop()


@pytest.fixture
def whole(kafka: Kafka, redis: RedisServer, tmp_path: Path) -> Iterator[Whole]:
    """Return a deployment."""
    found = Whole(kafka, redis, tmp_path)
    yield found
    found.stop()


def remembered(agent: Publisher) -> Outcome:
    """Publish a memory, and return its outcome."""
    return agent.outcome(agent.add_memory(content="likes tea", **MEMORY), PATIENCE)


def test_guarantee_8_where_a_tenant_must_sign_nobody_else_writes_its_memory(whole: Whole, tmp_path: Path) -> None:
    """Signed records are accepted, unsigned ones refused; gateway, retention and operator go on; an audit finds all."""
    file = tmp_path / "key.json"
    made = whole.operate("keys", "create", "--tenant", "acme", "--actor", "agent/planner", "--url", whole.url)
    file.write_text(json.dumps(made))
    with whole.publisher(signing=file) as agent:
        assert isinstance(remembered(agent).result, Accepted)
    with whole.publisher(tenant="acme", actor="agent/planner") as unsigned:
        result = remembered(unsigned).result
        assert isinstance(result, Rejected)
        assert result.reason is Reason.UNSIGNED
        assert "must be signed" in result.detail
    with whole.publisher(tenant="free", actor="agent/x") as free:
        assert isinstance(remembered(free).result, Accepted)

    token = whole.operate("tokens", "create", "--tenant", "acme", "--user", "ann")["token"]
    with httpx.Client(base_url=whole.url, headers={"Authorization": f"Token {token}"}, trust_env=False) as face:
        opened = face.post("/api/v2/memory/new/", json={"description": "plans"})
        assert opened.status_code == 201, opened.text
        space = opened.json()["memorySpaceId"]
        assert face.delete(f"/api/v2/memory/{space}/").status_code == 204
    until(lambda: ("acme", "worker/retention", "space.erased.v1") in whole.facts())

    whole.operate("keys", "revoke", made["id"])
    with pytest.raises(NotAllowed, match="revoked"):
        renewed(KeyFile.read(file))
    facts = whole.facts()
    assert [actor for tenant, actor, kind in facts if (tenant, kind) == ("acme", "memory.memory-added.v1")] == [
        "agent/planner"
    ]
    actors = {actor.partition("/")[0] for tenant, actor, _ in facts if tenant == "acme"}
    assert actors >= {"agent", "operator", "token", "worker"}
    said = whole.run("audit", "verify", "--runtime", "kafka")
    assert (said.returncode, said.stdout.splitlines()[-1]) == (0, "nothing differs"), said.stdout + said.stderr


def test_a_grant_is_renewed_by_who_has_the_key(whole: Whole, tmp_path: Path) -> None:
    """Over HTTP, into the file; the publisher does so by itself, and another key's holder is refused."""
    file = tmp_path / "key.json"
    made = whole.operate("keys", "create", "--tenant", "acme", "--actor", "agent/planner", "--url", whole.url)
    file.write_text(json.dumps(made))
    done = whole.run("keys", "renew", str(file))
    assert (done.returncode, done.stderr) == (0, ""), done
    after = json.loads(file.read_text())
    assert json.loads(after["grant"])["ends"] > json.loads(made["grant"])["ends"]
    assert {**after, "grant": ""} == {**made, "grant": ""}
    with whole.publisher(signing=file) as agent:
        assert isinstance(remembered(agent).result, Accepted)
    with pytest.raises(NotAllowed, match="has not signed this request"):
        renewed(KeyFile({**made, "key": (b"x" * 32).hex()}))
