"""The parsers of `mnemolog retention` and `mnemolog erase`."""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Callable

from mnemolog.runtime.cli_parts import Commands, as_json, common, runtime, sub, subgroup
from mnemolog.runtime.config import Settings


def register(commands: Commands) -> None:
    """Add both commands."""
    group = subgroup(commands, "retention", "the tenants' retention policies, and what waits for erasure")
    sweep = sub(group, "sweep", "delete now what the policies do not keep; the server does so every night")
    sweep.add_argument("--as-of", metavar="T", help="sweep as of this ISO-8601 time (default: now)")
    sweep.add_argument("--tenant", help="one tenant only")
    sweep.add_argument("--dry-run", action="store_true", help="count what would be deleted, and delete nothing")
    status = sub(group, "status", "what is hidden and not yet erased, what still holds the erased, and how old it is")
    status.add_argument("--log", action="store_true", help="also look through the log for what is not cleaned yet")
    for command, verb in ((sweep, "sweep"), (status, "status")):
        _finish(command, _run_retention, verb=verb)
    group = subgroup(commands, "erase", "erase something at once, without a grace, whatever its size", "WHAT")
    for kind, what in (
        ("memory", "memories by their ids"),
        ("message", "messages by their ids"),
        ("session", "sessions by their ids, with their events"),
        ("space", "memory spaces by their ids, with their sessions"),
    ):
        command = sub(group, kind, what)
        command.add_argument("ids", nargs="+", metavar="ID", help="what to erase")
        command.add_argument("--tenant", required=True, help="whose it is")
        _erasing(command, kind)
    owner = sub(group, "owner", "all memories and messages of one agent and invoker")
    owner.add_argument("agent", help="the agent")
    owner.add_argument("invoker", help="the invoker")
    owner.add_argument("--tenant", required=True, help="whose they are")
    _erasing(owner, "owner")
    tenant = sub(group, "tenant", "all memories, messages and memory spaces of a tenant; credentials and policy stay")
    tenant.add_argument("tenant", help="the tenant")
    _erasing(tenant, "tenant")


def _erasing(command: argparse.ArgumentParser, kind: str) -> None:
    command.add_argument("--dry-run", action="store_true", help="say what would be erased, and erase nothing")
    _finish(command, _run_erase, kind=kind)


def _finish(command: argparse.ArgumentParser, run: Callable[..., int], **defaults: str) -> None:
    common(command)
    runtime(command, "where it is")
    as_json(command)
    command.set_defaults(run=run, **defaults)


def _run_retention(settings: Settings, options: argparse.Namespace) -> int:
    from mnemolog.runtime import forgetting

    return asyncio.run(forgetting.retention(settings, options))


def _run_erase(settings: Settings, options: argparse.Namespace) -> int:
    from mnemolog.runtime import forgetting

    return asyncio.run(forgetting.erase(settings, options))
