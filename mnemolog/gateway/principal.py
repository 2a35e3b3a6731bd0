"""Who asks, as the gateway knows it once a credential has been checked."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Principal:
    """Who asks: `actor` is a client or a token, never an end user's name; `user` is set where a user speaks."""

    tenant: str
    actor: str
    user: str = ""
    admin: bool = False
    roles: tuple[str, ...] = ()
