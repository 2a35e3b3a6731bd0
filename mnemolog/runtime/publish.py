"""`mnemolog publish FILE|-`: commands in JSON Lines, published, and a report of what became of them.

A line is `{"type": "memory.add-memory.v1", "target": {…}, "parts": [{…}], "key": "…"}`. Without a key of its own, a
line's key is made from the run's name, the line's number and its text: so the same file published twice is one set of
commands (within the idempotency window, 24 hours or 10,000 commands of a slot), and an interrupted run can be repeated.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO

from mnemolog.domain import canonical
from mnemolog.domain.outcomes import Accepted, Outcome, Rejected
from mnemolog.runtime.bar import Bar
from mnemolog.runtime.config import BadConfiguration, Settings
from mnemolog.runtime.secured import kafka_options
from mnemolog.runtime.signing import Signatory
from producers import Invalid, Publisher, PublishError, Receipt, TooLarge
from producers.signing import KeyFile, Signer, spoken_as
from producers.wishes import parsed

_CHUNK = 500
_AHEAD = 4
_PATIENCE = 120.0
_SHOWN = 20
_ACTOR = "operator/publish"


@dataclass(slots=True)
class Report:
    """What became of the lines; `following` is the first line that is not known to be decided."""

    lines: int = 0
    accepted: int = 0
    repeated: int = 0
    rejected: int = 0
    invalid: int = 0
    following: int = 1


@dataclass(frozen=True, slots=True)
class _Line:
    number: int
    receipt: Receipt | None
    why: str = ""


def run(settings: Settings, options: argparse.Namespace) -> int:
    """Publish a file; return 1 if a line was refused or the run could not be finished."""
    report = Report(following=options.start)
    complaints: list[str] = []
    try:
        with ExitStack() as held:
            lines = _opened(options.file, held)
            whole = _length(options.file)
            publisher = held.enter_context(_publisher(settings, options))
            bar = held.enter_context(Bar())
            name = options.name or ("-" if options.file == "-" else Path(options.file).name)
            for chunk in _decided(publisher, _published(publisher, lines, name, options.start)):
                for line, outcome in chunk:
                    _count(report, complaints, line, outcome)
                bar.tell("published", report.following - options.start, max(0, whole - options.start + 1))
    except (PublishError, KeyboardInterrupt) as error:
        _print(report, complaints, as_json=options.json)
        why = "interrupted" if isinstance(error, KeyboardInterrupt) else str(error)
        sys.stderr.write(
            f"mnemolog: {why}\nmnemolog: every line before {report.following} is decided; to go on, run the same"
            f" command with --from {report.following}\n"
        )
        return 130 if isinstance(error, KeyboardInterrupt) else 1
    _print(report, complaints, as_json=options.json)
    return 1 if report.rejected or report.invalid else 0


def _publisher(settings: Settings, options: argparse.Namespace) -> Publisher:
    """Return the publisher to where the options and the settings lead. Raises BadConfiguration, PublishError."""
    credentials = _credentials(options.credentials)
    if options.to and options.to.startswith(("http://", "https://")):
        return Publisher(options.to, tenant=options.tenant or "", **credentials)
    signer = Signer(KeyFile.read(options.signing)) if options.signing else None
    tenant, actor = spoken_as(signer, options.tenant, options.actor) if signer else (options.tenant, options.actor)
    if not tenant:
        message = "--tenant must say whose commands these are (over HTTP, the credentials do)"
        raise BadConfiguration(message)
    actor = actor or _ACTOR
    servers = options.to or (settings.kafka if settings.runtime == "kafka" else "")
    if servers:
        prefix, security = settings.topic_prefix, kafka_options(settings)
        signing = signer or Signatory(settings).signer(tenant, actor)
        return Publisher(servers, tenant=tenant, actor=actor, topic_prefix=prefix, signing=signing, **security)
    from mnemolog.runtime.publish_local import LocalTransport

    return Publisher(LocalTransport(settings, tenant, actor, signer.headers if signer else None))


def _credentials(files: Sequence[Path]) -> dict[str, str]:
    """Return what the files hold that `clients create --json` and `tokens create --json` print."""
    found: dict[str, str] = {}
    for file in files:
        try:
            made = json.loads(file.read_text("utf-8"))
            found |= (
                {"token": made["token"]}
                if "token" in made
                else {"client_id": made["id"], "client_secret": made["secret"]}
            )
        except (OSError, ValueError, KeyError, TypeError) as error:
            message = f"--credentials {file} is not what `clients` or `tokens create --json` prints: {error!r}"
            raise BadConfiguration(message) from None
    return found


def _opened(file: str, held: ExitStack) -> IO[bytes]:
    if file == "-":
        return sys.stdin.buffer
    try:
        return held.enter_context(Path(file).open("rb"))
    except OSError as error:
        message = f"{file} cannot be read: {error.strerror}"
        raise BadConfiguration(message) from None


def _length(file: str) -> int:
    """Return how many lines a file has, 0 where that is not known."""
    if file == "-" or not Path(file).is_file():
        return 0
    with Path(file).open("rb") as lines:
        return sum(1 for _ in lines)


def _published(publisher: Publisher, lines: IO[bytes], name: str, start: int) -> Iterator[list[_Line]]:
    """Publish lines and yield them in chunks."""
    chunk: list[_Line] = []
    for number, raw in enumerate(lines, 1):
        if number < start or not raw.strip():
            continue
        chunk.append(_line(publisher, number, raw, name))
        if len(chunk) == _CHUNK:
            yield chunk
            chunk = []
    if chunk:
        yield chunk


def _line(publisher: Publisher, number: int, raw: bytes, name: str) -> _Line:
    try:
        wish = parsed(canonical.loads(raw))
        key = wish.key or hashlib.sha256(f"{name}:{number}:".encode() + raw.strip()).hexdigest()
        return _Line(number, publisher.publish(wish.command, key=key))
    except (Invalid, TooLarge) as error:
        return _Line(number, None, str(error))
    except ValueError as error:
        return _Line(number, None, f"the line is not valid JSON: {str(error)[:200]}")


def _decided(publisher: Publisher, chunks: Iterator[list[_Line]]) -> Iterator[list[tuple[_Line, Outcome | None]]]:
    """Yield chunks with their outcomes, some chunks behind those that are being published."""
    ahead: deque[list[_Line]] = deque()
    for chunk in chunks:
        ahead.append(chunk)
        if len(ahead) > _AHEAD:
            yield _outcomes(publisher, ahead.popleft())
    while ahead:
        yield _outcomes(publisher, ahead.popleft())


def _outcomes(publisher: Publisher, chunk: list[_Line]) -> list[tuple[_Line, Outcome | None]]:
    found = iter(publisher.outcomes([line.receipt for line in chunk if line.receipt is not None], _PATIENCE))
    return [(line, next(found) if line.receipt is not None else None) for line in chunk]


def _count(report: Report, complaints: list[str], line: _Line, outcome: Outcome | None) -> None:
    report.lines += 1
    report.following = line.number + 1
    match outcome.result if outcome is not None else None:
        case Accepted(repeated=False):
            report.accepted += 1
        case Accepted():
            report.repeated += 1
        case Rejected(reason=reason, detail=detail):
            report.rejected += 1
            _complain(complaints, f"line {line.number}: rejected, {reason}: {detail}")
        case None:
            report.invalid += 1
            _complain(complaints, f"line {line.number}: not sent: {line.why}")


def _complain(complaints: list[str], text: str) -> None:
    if len(complaints) < _SHOWN:
        complaints.append(text)


def _print(report: Report, complaints: Sequence[str], *, as_json: bool) -> None:
    for text in complaints:
        sys.stderr.write(text + "\n")
    if (refused := report.rejected + report.invalid) > len(complaints):
        sys.stderr.write(f"… and {refused - len(complaints)} more\n")
    if as_json:
        sys.stdout.write(json.dumps(asdict(report)) + "\n")
        return
    sys.stdout.write(
        f"{report.lines} commands: {report.accepted} accepted, {report.repeated} repeated (accepted before),"
        f" {report.rejected} rejected, {report.invalid} not valid\n"
    )
