"""Streams and their names: `{tenant}/{kind}/{id}`, the tenant in front, so that a foreign id tells nothing.

A tenant may be `provider/subscriber` (design §10); kinds and ids hold no slash, so a name is read from its right end.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Literal

Kind = Literal["space", "session", "memory", "group", "owner"]
Single = Literal["policy", "access"]


def stream(tenant: str, kind: Kind, identifier: str) -> str:
    """Return the name of a stream that has an id."""
    return f"{tenant}/{kind}/{identifier}"


def single(tenant: str, kind: Single) -> str:
    """Return the name of the one stream of its kind that a tenant has."""
    return f"{tenant}/{kind}"


@lru_cache(1_024)  # asked for several times for each fact
def kind_of(name: str) -> str:
    """Return a stream's kind."""
    head, _, last = name.rpartition("/")
    return last if last in {"policy", "access"} else head.rpartition("/")[2]


def tenant_of(name: str) -> str:
    """Return the tenant that a stream belongs to."""
    head, _, last = name.rpartition("/")
    return head if last in {"policy", "access"} else head.rpartition("/")[0]


def own_id(name: str) -> str:
    """Return what a stream's own facts have as their subject: its id, or its kind where it is the only one."""
    return name.rpartition("/")[2]


def fact_key(name: str, version: int) -> str:
    """Return the key of a fact: unique, so that compaction never takes one fact for another."""
    return f"{name}@{version}"
