"""`mnemolog keys`: who may sign commands. A key is made here and printed once, its public half is a fact (ADR 0016)."""

from __future__ import annotations

import argparse
import json
import os
import secrets
import sys
from pathlib import Path

from mnemolog.domain.access import CreateKey, NewKey, NewKeyTarget
from mnemolog.domain.signature import Key
from mnemolog.runtime.config import BadConfiguration, Settings
from mnemolog.runtime.operator import Operator
from mnemolog.runtime.signing import NO_AUTHORITY, Signatory, new_seed
from producers.signing import KeyFile, Signer, renewed


def authority(settings: Settings, options: argparse.Namespace) -> int:
    """Print a new authority: its key, and the setting that names its public half."""
    del settings
    seed = new_seed()
    made = {"authority_key": seed, "authorities": Key(bytes.fromhex(seed)).public}
    lines = "".join(f"MNEMOLOG_{name.upper()}={value}\n" for name, value in made.items())
    sys.stdout.write(json.dumps(made) + "\n" if options.json else lines)
    return 0


def renew(settings: Settings, options: argparse.Namespace) -> int:
    """Write the next grant into a key file. Raises PublishError."""
    del settings
    key = KeyFile.read(options.file)
    url = options.url or key.url
    if not url:
        message = "--url must name a mnemolog server: the key file names none"
        raise BadConfiguration(message)
    document = key.document | {"grant": renewed(key, url)}
    Signer(KeyFile(document))  # what is written can be used
    beside = Path(f"{options.file}.new")
    beside.write_text(json.dumps(document) + "\n", "utf-8")
    os.replace(beside, options.file)  # noqa: PTH105 -- the file is the old one or the new one, never half of it
    sys.stdout.write(f"{key.id}: renewed until {json.loads(document['grant'])['ends']}\n")
    return 0


async def create(hand: Operator, settings: Settings, options: argparse.Namespace) -> dict[str, str]:
    """Make a key, its fact and its first grant; return the key file. Raises BadConfiguration, Refused."""
    signatory = Signatory(settings)
    if not signatory.grants:
        raise BadConfiguration(NO_AUTHORITY)
    identifier = options.id or f"k-{secrets.token_hex(6)}"
    seed = new_seed()
    public = Key(bytes.fromhex(seed)).public
    try:
        grant = signatory.grant(options.tenant, options.actor, identifier, public).grant
    except ValueError as error:
        raise BadConfiguration(str(error)) from None
    target = NewKeyTarget(key=identifier, public_key=public)
    await hand.submit(options.tenant, CreateKey(target=target, parts=(NewKey(actor=options.actor),)))
    made = {"id": identifier, "tenant": options.tenant, "actor": options.actor, "key": seed, "grant": grant}
    return made | ({"url": options.url} if options.url else {})
