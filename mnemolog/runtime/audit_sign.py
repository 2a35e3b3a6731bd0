"""`mnemolog audit sign` and `mnemolog worker audit`: heads signed by a key of the auditor's own, and sent away.

The log is only read. The folder of heads says where the chain of heads stands, so it should lie where whoever runs the
log cannot write; each further place (`audit_also`) gets every head, in order, also those that it missed.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import hashlib
import logging
import os
import secrets
import sys
import urllib.request
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from mnemolog.audit import verifier
from mnemolog.audit.found import Found
from mnemolog.audit.reading import Facts, pages
from mnemolog.audit.signing import Key, claims, new_head
from mnemolog.audit.walk import Walk
from mnemolog.domain.errors import Corrupt, MnemologError, Unavailable
from mnemolog.domain.times import to_text
from mnemolog.runtime.audited import audited
from mnemolog.runtime.config import BadConfiguration, Settings
from mnemolog.runtime.folder import now
from mnemolog.runtime.secured import kafka_options

_log = logging.getLogger(__name__)
_SEED = 32
_PATIENCE = 30


async def sign(settings: Settings, options: argparse.Namespace) -> int:
    """Sign one head, write it, send it."""
    key = load_key(settings, make=True)
    old = read_key(options.old_key) if options.old_key else None
    async with audited(settings) as here:
        signer = Signer(settings, key, here.partitions)
        head = await signer.sign(here.log, old)
        await signer.send()
    sys.stdout.write(f"head {head['number']}: {len(head['slots'])} slots, signed by {key.public}\n")
    return 0


def work(settings: Settings) -> None:
    """Sign on a schedule, until a signal or a failure. Never returns: raises SystemExit.

    Like every worker's, its log is Kafka's where the settings name one; without, it is that of the data folder.
    """
    from workers.faust_host import host

    where = replace(settings, runtime="kafka" if settings.kafka else "embedded")
    folder = settings.data / "faust"
    folder.mkdir(parents=True, exist_ok=True)
    host("mnemolog-audit", [Worker(where)], folder)


class Worker:
    """The role `audit`. Hosted."""

    def __init__(self, settings: Settings) -> None:
        """Take the settings. Raises BadConfiguration."""
        self._settings = settings
        self._key = load_key(settings, make=True)
        self._stopping = asyncio.Event()

    async def run(self) -> None:
        """Sign now and then; what is away is waited for, what contradicts itself ends the process."""
        async with audited(self._settings) as here:
            signer = Signer(self._settings, self._key, here.partitions)
            while not self._stopping.is_set():
                try:
                    head = await signer.sign(here.log)
                    _log.info("head %d signed by %s", head["number"], self._key.public)
                    await signer.send()
                except Unavailable as error:
                    _log.warning("heads wait: %s", error)
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(self._settings.audit_every):
                        await self._stopping.wait()

    async def stop(self) -> None:
        """Sign no more."""
        self._stopping.set()


class Signer:
    """Walks on from head to head; what a former process signed is compared with the log before anything new is."""

    def __init__(self, settings: Settings, key: Key, partitions: int) -> None:
        """Name the folder and the places. Raises BadConfiguration."""
        if not settings.audit_heads:
            message = "MNEMOLOG_AUDIT_HEADS (or --heads) must name the folder that signed heads go to"
            raise BadConfiguration(message)
        self._key = key
        self._folder = Path(settings.audit_heads)
        self._folder.mkdir(parents=True, exist_ok=True)
        self._also = [place.strip() for place in settings.audit_also.split(",") if place.strip()]
        self._kafka = kafka_options(settings)
        self._found = Found()
        self._before = self._newest()
        self._wanted = [] if self._before is None else claims(self._before)
        sizes: dict[int, list[int]] = {}
        for claim in self._wanted:
            sizes.setdefault(claim.slot, []).append(claim.facts)
        self._walks = [Walk(partition, partitions, self._found, sizes) for partition in range(partitions)]
        self._at = [0] * partitions

    async def sign(self, log: Facts, old: Key | None = None) -> Mapping[str, Any]:
        """Read on, sign, write. Raises Corrupt if the log does not hold together, or contradicts the last head."""
        for partition, walk in enumerate(self._walks):
            async for page in pages(log, partition, self._at[partition]):
                walk.take(page)
                self._at[partition] = page[-1].offset + 1
            walk.finish()
        for claim in self._wanted:
            if self._walks[claim.slot % len(self._walks)].root(claim.slot, claim.facts) != claim.root:
                self._found.wrong(f"slot {claim.slot}: its facts are not those that {claim.name} speaks of")
        self._wanted = []
        if self._found.count:
            message = f"nothing is signed, as the log does not hold together: {self._found.said[0]}"
            raise Corrupt(message)
        if self._before is not None and old is None and self._before["key"] != self._key.public:
            message = "the last head was signed by another key; name it with --old-key, so that it names this one"
            raise BadConfiguration(message)
        heads = {slot: (size, root.hex()) for walk in self._walks for slot, (size, root) in walk.heads().items()}
        head = new_head(self._key, to_text(now()), heads, self._before, old)
        _write(self._file(head["number"]), verifier.canonical(head))
        self._before = head
        return head

    async def send(self) -> None:
        """Send every place the heads that it has not got. Raises Unavailable."""
        last = 0 if self._before is None else int(self._before["number"])
        for place in self._also:
            mark = self._folder / f"sent-{hashlib.sha256(place.encode()).hexdigest()[:16]}"
            done = int(mark.read_text()) if mark.exists() else 0
            for number in range(done + 1, last + 1):
                await _sent(place, self._file(number).read_bytes(), self._kafka)
                mark.write_text(str(number))

    def _file(self, number: int) -> Path:
        return self._folder / f"head-{number:08}.json"

    def _newest(self) -> Mapping[str, Any] | None:
        if not any(self._folder.glob("head-*.json")):
            return None
        heads = verifier.read_heads(self._folder)
        try:
            verifier.check_heads(heads, heads[0]["key"])
        except verifier.Refused as error:
            message = f"the heads in {self._folder} do not hold: {error}"
            raise Corrupt(message) from error
        return heads[-1]


# ---- keys ------------------------------------------------------------------------------------------------------------


def load_key(settings: Settings, *, make: bool = False) -> Key:
    """Return the auditor's key; make it, readable by its owner only, where it is not there. Raises BadConfiguration."""
    if not settings.audit_key:
        message = "MNEMOLOG_AUDIT_KEY (or --key) must name the file of the auditor's key"
        raise BadConfiguration(message)
    file = Path(settings.audit_key)
    if make and not file.exists():
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as opened:
            opened.write(secrets.token_bytes(_SEED).hex() + "\n")
    return read_key(file)


def read_key(file: Path) -> Key:
    """Read a key: 32 bytes in hex. Raises BadConfiguration."""
    try:
        return Key(bytes.fromhex(file.read_text("ascii").strip()))
    except (OSError, ValueError) as error:
        message = f"{file} is not an auditor's key, 32 bytes in hex: {error}"
        raise BadConfiguration(message) from error


# ---- places ----------------------------------------------------------------------------------------------------------


def _write(file: Path, raw: bytes) -> None:
    """Put a head in place whole; one that is there is never overwritten."""
    if file.exists():
        message = f"{file} is there already: another auditor signs into this folder"
        raise MnemologError(message)
    fresh = file.with_suffix(".new")
    with fresh.open("wb") as opened:
        opened.write(raw + b"\n")
        opened.flush()
        os.fsync(opened.fileno())
    fresh.replace(file)


async def _sent(place: str, raw: bytes, kafka: Mapping[str, Any]) -> None:
    try:
        if place.startswith("kafka://"):
            await _produced(place, raw, kafka)
        elif place.startswith(("http://", "https://")):
            await asyncio.to_thread(_posted, place, raw)
        else:
            message = f"MNEMOLOG_AUDIT_ALSO must hold http(s) URLs or kafka://host:port/topic, not {place}"
            raise BadConfiguration(message)
    except OSError as error:
        message = f"{place} has not taken a head: {error}"
        raise Unavailable(message) from error


def _posted(place: str, raw: bytes) -> None:
    request = urllib.request.Request(place, raw, {"content-type": "application/json"})  # noqa: S310 -- checked
    with urllib.request.urlopen(request, timeout=_PATIENCE):  # noqa: S310 -- an answer that is no success is an OSError
        pass


async def _produced(place: str, raw: bytes, options: Mapping[str, Any]) -> None:
    from aiokafka import AIOKafkaProducer
    from aiokafka.errors import KafkaError

    servers, _, topic = place.removeprefix("kafka://").partition("/")
    producer = AIOKafkaProducer(bootstrap_servers=servers, acks="all", enable_idempotence=True, **options)
    try:
        await producer.start()
        await producer.send_and_wait(topic, raw)
    except KafkaError as error:
        message = f"{place} has not taken a head: {error!r}"
        raise Unavailable(message) from error
    finally:
        await producer.stop()
