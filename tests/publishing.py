"""What the commands of a publisher are about, as keyword arguments of its methods."""

from __future__ import annotations

from typing import TypedDict


class ByOwner(TypedDict):
    """An agent's memory of somebody."""

    agent: str
    invoker: str


class InSpace(TypedDict):
    """A user's space."""

    user: str
    space_id: str


class InSession(InSpace):
    """A session in a user's space."""

    session_id: str
