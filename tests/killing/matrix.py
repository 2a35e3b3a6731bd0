"""The kills: each is one act under load, and tells how long the partitions that it hit stood still."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable
from functools import partial

from tests.killing.load import Load
from tests.killing.processes import PATIENCE, Deployment, Node
from tests.killing.verdict import verdict

_BEFORE, _AFTER = 1.5, 2.0
_LOOK = 0.05

Act = Callable[[Deployment, Load], float]
"""Does it, and returns the seconds until every partition moved again."""


def sequencer(deployment: Deployment, load: Load) -> float:
    """Kill the sequencer that has the most partitions."""
    return _killed(deployment, load, deployment.holder("sequencer"))


def projector(deployment: Deployment, load: Load) -> float:
    """Kill the projector that has the most partitions."""
    return _killed(deployment, load, deployment.holder("projector"))


def vectors(deployment: Deployment, load: Load) -> float:
    """Kill the vectors worker that has the most partitions."""
    return _killed(deployment, load, deployment.holder("vectors"))


def gateway(deployment: Deployment, load: Load) -> float:
    """Kill a gateway; its clients go to the other one."""
    before, began = len(load.memories), time.monotonic()
    deployment.replace_gateway(0)
    _until(lambda: len(load.memories) > before, load)
    return time.monotonic() - began


def freeze(deployment: Deployment, load: Load) -> float:
    """Freeze a sequencer past its session, and wake it when another has taken its partitions."""
    victim = deployment.holder("sequencer")
    theirs, began = victim.partitions() or {}, time.monotonic()
    victim.freeze()
    try:
        seconds = _moving(deployment, load, theirs, victim, began)
    finally:
        victim.wake()
    return seconds


def kafka(deployment: Deployment, load: Load) -> float:
    """Kill the broker, and start it again."""
    broker = deployment.kafka.broker
    assert broker is not None, "a Kafka named in the environment is not ours to kill"
    began = time.monotonic()
    broker.kill()
    broker.start()
    _decided(load, range(deployment.cluster.partitions))
    return time.monotonic() - began


def redis(deployment: Deployment, load: Load) -> float:
    """Kill Redis and start it again, empty: its append-only file is gone as well."""
    before, began = len(load.memories), time.monotonic()
    deployment.redis.restart()
    deployment.redis.flush()
    _until(lambda: len(load.memories) > before + 5, load)
    return time.monotonic() - began


def qdrant(deployment: Deployment, load: Load) -> float:
    """Kill Qdrant and start it again on what it has; nothing else stands still meanwhile."""
    server = deployment.qdrant
    assert server is not None
    before, began = len(load.memories), time.monotonic()
    server.kill()
    _until(lambda: len(load.memories) > before + 5, load)
    server.start()
    deployment.settle()
    return time.monotonic() - began


def rolling(deployment: Deployment, load: Load) -> float:
    """Restart every process, one after the other, as an upgrade does; return the longest hand-over after a SIGTERM."""
    longest = 0.0
    for node in deployment.nodes:
        theirs, began = node.partitions() or {}, time.monotonic()
        node.terminate()
        longest = max(longest, _moving(deployment, load, theirs, node, began))
        _well(node, node.wait())
        node.start()
        deployment.settle()
    for role in ("retention", "audit"):
        node = deployment.another(role)
        for _ in range(2):
            before = deployment.heads()
            node.start()
            _until(partial(_works, deployment, node, before), load)
            longest = max(longest, _ended(node))
    for number in range(len(deployment.gateways)):
        code, seconds = deployment.renew_gateway(number)
        assert code == 0, f"a gateway ended with {code} after a SIGTERM"
        longest = max(longest, seconds)
    return longest


def _works(deployment: Deployment, node: Node, before: int) -> bool:
    """Tell whether a process without partitions works: its page answers, or it has signed heads."""
    return deployment.heads() > before if node.role == "audit" else node.live()


def _ended(node: Node) -> float:
    """Ask a process to end; return how long that took."""
    began = time.monotonic()
    _well(node, node.stop())
    return time.monotonic() - began


def _well(node: Node, code: int) -> None:
    assert code == 0, f"{node.role} ended with {code} after a SIGTERM"


ACTS: dict[str, Act] = {
    act.__name__: act for act in (sequencer, projector, vectors, gateway, freeze, kafka, redis, qdrant, rolling)
}
NEEDS_QDRANT = frozenset({"vectors", "qdrant"})


def strike(deployment: Deployment, act: Act, rate: int) -> tuple[float, float, int]:
    """Do one act under load and judge. Returns seconds of standstill, commands a second, and facts.

    Raises AssertionError with the first thing that is not as it must be.
    """
    with Load(deployment.cluster, lambda: [one.url for one in deployment.gateways], rate) as load:
        _wait(_BEFORE, load)
        seconds = act(deployment, load)
        _wait(_AFTER, load)
    deployment.settle()
    facts = asyncio.run(verdict(deployment, load))
    return seconds, (load.published + len(load.memories)) / load.seconds, facts


def _killed(deployment: Deployment, load: Load, victim: Node) -> float:
    theirs, began = victim.partitions() or {}, time.monotonic()
    victim.kill()
    seconds = _moving(deployment, load, theirs, victim, began)
    victim.start()
    return seconds


def _moving(deployment: Deployment, load: Load, theirs: dict[int, str], victim: Node, began: float) -> float:
    """Wait until the other node of the role works on what the victim had, and, of a sequencer, decides again."""
    (other,) = [node for node in deployment.nodes if node.role == victim.role and node is not victim]
    _until(lambda: theirs.keys() <= {n for n, how in (other.partitions() or {}).items() if how == "works"}, load)
    if victim.role == "sequencer":
        _decided(load, theirs)
    return time.monotonic() - began


def _decided(load: Load, partitions: Iterable[int]) -> None:
    """Wait until a command of each partition is decided from now on."""
    now = time.monotonic()
    _until(lambda: all(load.lately[partition] > now for partition in partitions), load)


def _until(there: Callable[[], bool], load: Load) -> None:
    deadline = time.monotonic() + PATIENCE
    while not there():
        assert not load.failures, load.failures
        assert time.monotonic() < deadline, "it does not go on"
        time.sleep(_LOOK)


def _wait(seconds: float, load: Load) -> None:
    """Let the load go on for so long."""
    until = time.monotonic() + seconds
    _until(lambda: time.monotonic() >= until, load)
