"""`mnemolog clients`, `tokens` and `keys`: who may come in. Secrets are made here, printed once, and stored hashed."""

from __future__ import annotations

import argparse
import hashlib
import json
import secrets
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from mnemolog.domain.access import (
    ClientTarget,
    CreateClient,
    CreateToken,
    KeyTarget,
    NewClient,
    NewClientTarget,
    NewToken,
    NewTokenTarget,
    RevokeClient,
    RevokeKey,
    RevokeToken,
    TokenTarget,
)
from mnemolog.domain.codec import explain
from mnemolog.domain.errors import MnemologError
from mnemolog.domain.schema import Command
from mnemolog.domain.times import to_text
from mnemolog.runtime.config import BadConfiguration, Settings
from mnemolog.runtime.keys import create
from mnemolog.runtime.operator import Operator
from mnemolog.runtime.operators import operator


class NoSuchCredential(MnemologError):
    """The id names no valid credential, or several."""


async def run(settings: Settings, options: argparse.Namespace) -> int:
    """Run `clients`, `tokens` or `keys` with `create`, `revoke` or `list`."""
    try:
        async with operator(settings) as hand:
            match options.verb:
                case "create":
                    text = await _create(hand, settings, options)
                case "revoke":
                    text = await _revoke(hand, options)
                case _:
                    text = _listed(await _valid(hand, options.kind), as_json=options.json)
    except ValidationError as error:
        message = f"this cannot be: {explain(error)}"
        raise BadConfiguration(message) from None
    except UnicodeEncodeError:
        message = "a name on the command line is not UTF-8"
        raise BadConfiguration(message) from None
    sys.stdout.write(text)
    return 0


async def _create(hand: Operator, settings: Settings, options: argparse.Namespace) -> str:
    if not options.tenant.strip() or "/" in options.tenant:
        message = "--tenant must be a name without a slash: a slash separates a provider from its subscribers"
        raise BadConfiguration(message)
    if options.kind == "keys":
        return _printed(await create(hand, settings, options), as_json=options.json)
    secret = secrets.token_urlsafe(32)
    hashed = hashlib.sha256(secret.encode()).hexdigest()
    roles = [options.role] if options.role else []
    if options.kind == "tokens":
        identifier = f"t-{secrets.token_hex(6)}"
        target = NewTokenTarget(token=identifier, token_sha256=hashed)
        command: Command = CreateToken(target=target, parts=(NewToken(user=options.user, roles=roles),))
        await hand.submit(options.tenant, command)
        made = {"id": identifier, "token": secret, "tenant": options.tenant, "user": options.user}
        return _printed(made, as_json=options.json)
    identifier = options.id or f"c-{secrets.token_hex(6)}"
    part = _client(options, roles)
    made_for = NewClientTarget(client=identifier, secret_sha256=hashed)
    await hand.submit(options.tenant, CreateClient(target=made_for, parts=(part,)))
    made = {"id": identifier, "secret": secret, "tenant": options.tenant}
    if options.json:
        return _printed(made, as_json=True)
    return _printed(made, as_json=False) + _uaa(options, identifier, secret)


def _client(options: argparse.Namespace, roles: Sequence[str]) -> NewClient:
    given: dict[str, Any] = {"roles": list(roles), "admin": not options.no_admin}
    if options.identityzone is not None:
        given["identity_zone"] = options.identityzone
    if options.subscribers is not None:
        if options.identityzone is None:
            message = "--subscribers needs --identityzone: without it no host label counts"
            raise BadConfiguration(message)
        given["subscribers"] = [label.strip() for label in options.subscribers.split(",") if label.strip()]
    return NewClient.model_validate(given)


def _uaa(options: argparse.Namespace, identifier: str, secret: str) -> str:
    """Return the lines that the SAP SDK's environment wants."""
    binding = {"url": options.url, "clientid": identifier, "clientsecret": secret}
    if options.identityzone:
        binding["identityzone"] = options.identityzone
    prefix = "CLOUD_SDK_CFG_HANA_AGENT_MEMORY_DEFAULT"
    return (
        f"export {prefix}_APPLICATION_URL='{options.url}'\n"
        f"export {prefix}_UAA='{json.dumps(binding, separators=(',', ':'))}'\n"
    )


async def _revoke(hand: Operator, options: argparse.Namespace) -> str:
    found = [
        row
        for row in await _valid(hand, options.kind)
        if row["id"] == options.id and options.tenant in {None, row["tenant"]}
    ]
    if len(found) != 1:
        several = "several tenants have one with this id; name one with --tenant"
        message = f"{options.kind}: {several if found else f'there is none with the id {options.id}'}"
        raise NoSuchCredential(message)
    await hand.submit(found[0]["tenant"], _revocation(options.kind, options.id))
    return _printed({"revoked": options.id, "tenant": found[0]["tenant"]}, as_json=options.json)


def _revocation(kind: str, identifier: str) -> Command:
    match kind:
        case "clients":
            return RevokeClient(target=ClientTarget(client=identifier))
        case "tokens":
            return RevokeToken(target=TokenTarget(token=identifier))
        case _:
            return RevokeKey(target=KeyTarget(key=identifier))


async def _valid(hand: Operator, kind: str) -> list[dict[str, Any]]:
    ask = {"clients": hand.queries.all_clients, "tokens": hand.queries.all_tokens, "keys": hand.queries.all_keys}
    rows: Sequence[Mapping[str, Any]] = await ask[kind]()
    return [{name: value for name, value in row.items() if "sha256" not in name} for row in rows]


def _listed(rows: Sequence[Mapping[str, Any]], *, as_json: bool) -> str:
    if as_json:
        return json.dumps([dict(row) for row in rows], indent=2) + "\n"
    lines = [
        "  ".join(
            [row["id"], f"tenant={row['tenant']}"]
            + ([f"user={row['user']}"] if "user" in row else [])
            + ([f"actor={row['actor']}"] if "actor" in row else [])
            + ([f"roles={','.join(row['roles'])}"] if row.get("roles") else [])
            + [f"since {to_text(row['created'])}"]
        )
        for row in rows
    ]
    return "".join(f"{line}\n" for line in lines) or "none yet\n"


def _printed(made: Mapping[str, str], *, as_json: bool) -> str:
    if as_json:
        return json.dumps(made) + "\n"
    return "".join(f"{name:<7} {value}\n" for name, value in made.items())
