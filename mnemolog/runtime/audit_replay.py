"""`mnemolog audit replay`: the state of a stream, an owner or a tenant as it was at a time or a position."""

from __future__ import annotations

import argparse
import json
import sys

from mnemolog.audit.moment import Lost, Moment, Row, Then, replayed
from mnemolog.audit.reading import About
from mnemolog.domain import canonical
from mnemolog.domain.times import to_text
from mnemolog.runtime.audited import audited
from mnemolog.runtime.bar import Bar
from mnemolog.runtime.config import BadConfiguration, Settings
from projections.projector import project


async def replay(settings: Settings, options: argparse.Namespace) -> int:
    """Print what could be read then, and what of it has been erased since; 1 if there was nothing."""
    about, moment = _asked(options)
    with Bar() as bar:
        async with audited(settings) as here:
            then = await replayed(here.log, here.partitions, about, moment, project, bar.tell)
    if options.json:
        for plain in [*(row.plain() for row in then.rows), *(lost.plain() for lost in then.lost)]:
            sys.stdout.write(json.dumps(plain, ensure_ascii=False) + "\n")
    else:
        sys.stdout.write(_said(then))
    return 0 if then.rows or then.lost else 1


def _asked(options: argparse.Namespace) -> tuple[About, Moment]:
    try:
        moment = Moment.parse(options.as_of)
    except ValueError:
        message = f"--as-of must be an ISO-8601 time or a position like 0:17, not {options.as_of!r}"
        raise BadConfiguration(message) from None
    owner = (options.tenant, options.agent, options.invoker)
    if options.stream is not None and owner == (None, None, None):
        return About(stream=options.stream), moment
    tenant, agent, invoker = owner
    if options.stream is None and tenant is not None and agent is None and invoker is None:
        return About(tenant=tenant), moment
    if options.stream is None and tenant is not None and agent is not None and invoker is not None:
        return About(owner=(tenant, agent, invoker)), moment
    message = "name a stream or an id, or --tenant, or an owner: --tenant with --agent and --invoker"
    raise BadConfiguration(message)


def _said(then: Then) -> str:
    lines = [_row(row) for row in then.rows] + [_lost(lost) for lost in then.lost]
    return "".join(f"{line}\n" for line in lines) or "there was nothing then\n"


def _row(row: Row) -> str:
    plain = row.plain()
    kind, identifier = plain.pop("kind"), plain.pop("id", row.key.rpartition("/")[2])
    return f"{kind:<8} {identifier}  {canonical.text({k: v for k, v in plain.items() if v is not None})}"


def _lost(lost: Lost) -> str:
    by = lost.erased
    was = "was there" if lost.sure else "may have been there"
    about = lost.subject if lost.subject in lost.stream else f"{lost.stream} {lost.subject}"
    whose = "" if lost.owned else ", whose is not known any more"
    return f"erased   {about}  {was}{whose}; erased {to_text(by.time)} by {by.actor} (command {by.command})"
