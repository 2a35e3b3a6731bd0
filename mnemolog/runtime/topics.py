"""`mnemolog topics create|check|show`: the declared topics, and what the cluster has of them.

1. `create` makes what is missing. A topic that is there is never changed: what differs is said, and the exit code is 1.
2. `check` compares partitions and every declared setting with the effective one, its broker's default included.
3. Every topic has the same number of partitions: what belongs together has the same number in each.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import KafkaError, for_code

from mnemolog.domain.errors import Unavailable
from mnemolog.domain.topics import TOPICS
from mnemolog.runtime.config import Settings
from mnemolog.runtime.kafka import cluster
from workers.kafka_cluster import Cluster

_UNKNOWN_TOPIC, _EXISTS = 3, 36
_WAIT, _PAUSE = 30.0, 0.1
_IN_SYNC = "min.insync.replicas"


@dataclass(frozen=True, slots=True)
class Wanted:
    """A topic as it should be; `replication` 0 is what the cluster does by default, and is not compared."""

    name: str
    partitions: int
    replication: int
    settings: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Found:
    """A topic as it is; `replication` is that of its least replicated partition."""

    name: str
    partitions: int
    replication: int
    settings: Mapping[str, str]


def wanted(where: Cluster, *, replication: int = 0, in_sync: int = 0) -> Sequence[Wanted]:
    """Return the declaration, for a cluster."""
    more = {_IN_SYNC: str(in_sync)} if in_sync else {}
    return [Wanted(where.topic(t.name), where.partitions, replication, {**t.settings, **more}) for t in TOPICS]


def differences(topic: Wanted, found: Found | None) -> list[str]:
    """Return what is not as it should be, in words that an operator can act on."""
    if found is None:
        return [f"{topic.name}: is missing; mnemolog topics create makes it"]
    said = []
    if found.partitions != topic.partitions:
        said.append(f"{topic.name}: has {found.partitions} partitions, MNEMOLOG_PARTITIONS says {topic.partitions}")
    if topic.replication and found.replication != topic.replication:
        said.append(f"{topic.name}: has {found.replication} replicas, expected {topic.replication}")
    for name, value in topic.settings.items():
        if not _same(found.settings.get(name, ""), value):
            said.append(f"{topic.name}: {name} is {found.settings.get(name, 'not set')}, expected {value}")
    return said


def _same(one: str, other: str) -> bool:
    """Tell whether two texts are the same setting: Kafka may write a number, or a list, in another way."""
    try:
        return float(one) == float(other)
    except ValueError:
        return sorted(one.split(",")) == sorted(other.split(","))


async def run(settings: Settings, options: argparse.Namespace, say: Callable[[str], object]) -> int:
    """Do what the command line asks; return the exit code. Raises BadConfiguration, Unavailable."""
    where = cluster(settings)
    declared = wanted(where, replication=options.replication, in_sync=options.min_insync)
    admin = AIOKafkaAdminClient(bootstrap_servers=where.servers, **where.options)
    try:
        await admin.start()
        found = await describe(admin, declared)
        match options.verb:
            case "create":
                return await _create(admin, declared, found, say)
            case "check":
                return _check(declared, found, say, as_json=options.json)
            case _:
                return _show(declared, found, say, as_json=options.json)
    except KafkaError as error:
        message = f"Kafka at {where.servers} does not answer as it should: {error!r}"
        raise Unavailable(message) from error
    finally:
        await admin.close()


async def describe(admin: AIOKafkaAdminClient, topics: Sequence[Wanted]) -> dict[str, Found]:
    """Return those of the topics that are there, with the effective value of every setting."""
    names = [topic.name for topic in topics]
    described = [t for t in await admin.describe_topics(names) if t["error_code"] != _UNKNOWN_TOPIC]
    for topic in described:
        _raise(topic["error_code"])
    if not described:
        return {}
    resources = [ConfigResource(ConfigResourceType.TOPIC, topic["topic"]) for topic in described]
    settings: dict[str, dict[str, str]] = {}
    for response in await admin.describe_configs(resources):
        for code, _, _, name, entries, *_ in response.resources:
            _raise(code)
            settings[name] = {entry[0]: entry[1] for entry in entries}
    return {topic["topic"]: _found(topic, settings[topic["topic"]]) for topic in described}


def _found(topic: Mapping[str, Any], settings: Mapping[str, str]) -> Found:
    partitions = topic["partitions"]
    return Found(topic["topic"], len(partitions), min(len(p["replicas"]) for p in partitions), settings)


def _raise(code: int) -> None:
    if code:
        raise for_code(code)


async def _create(
    admin: AIOKafkaAdminClient, declared: Sequence[Wanted], found: Mapping[str, Found], say: Callable[[str], object]
) -> int:
    """Make what is missing; compare all once every broker's answer shows them."""
    made = set()
    missing = [topic for topic in declared if topic.name not in found]
    if missing:
        for name, code, text in (await admin.create_topics([_new(topic) for topic in missing])).topic_errors:
            if code not in {0, _EXISTS}:
                message = f"the topic {name} could not be created: {text or for_code(code).__name__}"
                raise Unavailable(message)
            if code == 0:
                made.add(name)
        found = await _all_of(admin, declared)
    wrong = 0
    for topic in declared:
        said = differences(topic, found[topic.name])
        if not said:
            say(f"{topic.name}: {'created' if topic.name in made else 'is there, as declared'}\n")
        for line in said:
            say(f"{line}; it was not changed\n")
        wrong += len(said)
    return 1 if wrong else 0


async def _all_of(admin: AIOKafkaAdminClient, declared: Sequence[Wanted]) -> dict[str, Found]:
    """Wait until the cluster shows all topics: what has been made is known to every broker a little later."""
    deadline = time.monotonic() + _WAIT
    while len(found := await describe(admin, declared)) < len(declared):
        if time.monotonic() > deadline:
            message = f"of {len(declared)} topics, the cluster shows {len(found)} after {_WAIT:.0f} s; try again"
            raise Unavailable(message)
        await asyncio.sleep(_PAUSE)
    return found


def _new(topic: Wanted) -> NewTopic:
    # With -1 the cluster's default counts; the client then wants to see a list of replicas, which may be empty.
    replicas: dict[int, list[int]] | None = None if topic.replication else {}
    return NewTopic(topic.name, topic.partitions, topic.replication or -1, replicas, dict(topic.settings))


def _check(
    declared: Sequence[Wanted], found: Mapping[str, Found], say: Callable[[str], object], *, as_json: bool
) -> int:
    said = [line for topic in declared for line in differences(topic, found.get(topic.name))]
    if as_json:
        say(json.dumps({"differences": said}, indent=2) + "\n")
    else:
        say("".join(f"{line}\n" for line in said) or f"{len(declared)} topics are as declared\n")
    return 1 if said else 0


def _show(
    declared: Sequence[Wanted], found: Mapping[str, Found], say: Callable[[str], object], *, as_json: bool
) -> int:
    shown = [_shown(topic, found.get(topic.name)) for topic in declared]
    if as_json:
        say(json.dumps(shown, indent=2) + "\n")
        return 0
    for topic in shown:
        there = f"{topic['partitions']} partitions, {topic['replication']} replicas" if topic["there"] else "is missing"
        say(f"{topic['name']}: {there}\n")
        say("".join(f"  {name}={value}\n" for name, value in topic["settings"].items()))
    return 0


def _shown(topic: Wanted, found: Found | None) -> dict[str, Any]:
    names = [*topic.settings, *([_IN_SYNC] if _IN_SYNC not in topic.settings else [])]
    return {
        "name": topic.name,
        "there": found is not None,
        "partitions": found.partitions if found else 0,
        "replication": found.replication if found else 0,
        "settings": {name: found.settings.get(name, "") for name in names} if found else {},
    }
