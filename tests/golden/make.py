"""Write the golden files that are missing: an example of every type of fact and command, its bytes fixed for ever.

`python -m tests.golden.make`. One story, with fixed secrets and times, says every command and brings every fact; of
each type the first is the example. To release a new type, add to the end of the story: what is before must not move.

A file that is there is never written again. If the story no longer gives its bytes, the format has changed, and what
other code has written is no longer read or written alike: that is an error in the code, never in the file.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mnemolog.domain import chain
from mnemolog.domain.codec import Envelope, encode_command, seal
from mnemolog.domain.decider import decide
from mnemolog.domain.decision import Case, Draft
from mnemolog.domain.fact import Fact
from mnemolog.domain.fold import evolve
from mnemolog.domain.record import CommandRecord, FactRecord, Position
from mnemolog.domain.routing import slot_of_command
from mnemolog.domain.rules import Rules
from mnemolog.domain.schema import Command
from mnemolog.domain.session import StrategyExecuted
from mnemolog.domain.times import to_text
from tests import wishes
from workers.snapshot_memory import MemorySnapshot
from workers.state import State

HERE = Path(__file__).parent
START = 1_795_000_000_123_456
LIST = {"type": "extract_memories", "trigger": {"eventCount": 3, "idle": None}, "opts": {"softDelete": True}}


class FixedRules(Rules):
    """Rules whose hash does not follow what later rules add."""

    @property
    def hash(self) -> str:
        """Return 64 zeros."""
        return "0" * 64


RULES = FixedRules(
    never_allowed=False,
    default_ttl=15_552_000,
    window_time=86_400_000_000,
    window_size=10_000,
    tokens="utf8-quarter.v1",
)


@dataclass(frozen=True)
class Example:
    """A fact's record with what its chain is made of."""

    record: FactRecord
    before: bytes
    link: bytes

    def text(self) -> str:
        """Return the golden file."""
        value = (self.record.value or b"").decode()
        return _json(
            key=self.record.key, headers=dict(self.record.headers), value=value, before=self.before.hex(),
            link=self.link.hex(), chain=self.record.headers["chain"],
        )  # fmt: skip


class Telling:
    """A story as it is told: commands and facts so far."""

    def __init__(self) -> None:
        """Begin with nothing."""
        self.state = State(MemorySnapshot(bytes(32)))
        self.commands: list[CommandRecord] = []
        self.facts: list[Example] = []

    def say(self, command: Command, *, by: str = "client/sb-1", trace: str = "") -> list[Fact]:
        """Decide a command and return its facts."""
        number = len(self.commands)
        identifier = f"3aebeb15-d66e-597a-891d-{number:012x}"
        slot = slot_of_command("acme", identifier, command)
        if slot is None:
            raise ValueError(command)
        secret = bytes((number + n) % 256 for n in range(32))
        envelope = Envelope(identifier, "acme", by, slot, secret, command, trace)
        self.commands.append(encode_command(envelope))
        decided = decide(self.state, envelope, START + number * 1_000_003, Position(0, number), RULES)
        if not isinstance(decided, list):
            raise TypeError(decided)
        return [self._fold(*sealed) for sealed in decided]

    def execute(self, session: Fact, kind: str) -> None:
        """Bring the fact that a strategy has run: no command of this story does."""
        number = len(self.commands) - 1
        found = self.state.stream(session.stream)
        if found is None:
            raise ValueError(session)
        case = Case("strategy", "acme", "worker/lifecycle", session.slot, bytes(32), wishes.create_space(), 0, RULES)
        self._fold(
            *seal(
                Draft(session.stream, session.subject, StrategyExecuted(type=kind)), case, time=found.head.last + 1,
                version=found.head.version, ordinal=self.state.slot(session.slot).ordinal, index=0, count=1,
                before=found.head.chain, source=Position(0, number), trace="",
            )
        )  # fmt: skip

    def _fold(self, fact: Fact, record: FactRecord) -> Fact:
        found = self.state.stream(fact.stream)
        before = found.head.chain if found else chain.start(fact.stream)
        self.facts.append(Example(record, before, fact.link))
        self.state.apply(evolve(self.state, fact))
        return fact


def story() -> Telling:
    """Tell everything that there is, once at least."""
    told = Telling()
    say = told.say
    (space,) = say(
        wishes.create_space(
            "user-é", description="Über uns", llm_model_name="m", llm_base_url="https://example.org/v1",
            custom_instructions=None, deduplication_key="K1",
        )
    )  # fmt: skip
    where = {"space": space.subject, "user": "user-é"}
    say(wishes.update_space(space.subject, "user-é", description=None, custom_instructions="short"))
    (session,) = say(
        wishes.create_session(
            **where, participants=["user-é"], lifecycle_strategies=[LIST], description="d",
            metadata={"b": 1, "a": [None]}, deduplication_key="K2",
        )
    )  # fmt: skip
    one = wishes.event("likes tea ☕", by="user-é", type="note")
    two = wishes.event("noted", kind="agent", by=None)
    (first, _) = say(
        wishes.append_events(space.subject, session.subject, one, two, user="user-é"),
        trace="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    )
    seen = wishes.change(0, "likes green tea", created_at=to_text(first.time))
    say(wishes.update_events(space.subject, session.subject, seen, wishes.change(1, type="seen"), user="user-é"))
    say(wishes.update_session(session=session.subject, version=1, **where, metadata=None))
    told.execute(session, "extract_memories")
    say(wishes.delete_event(space.subject, session.subject, 0, "user-é"))
    say(wishes.erase_range("session", session.subject, "event/0"), by="worker/eraser")
    say(wishes.delete_session(space.subject, session.subject, "user-é"))
    say(wishes.delete_space(space.subject, "user-é"))
    say(wishes.erase_range("space", space.subject), by="worker/eraser")
    owner = {"agent": "support-bot", "invoker": "user-é"}
    (memory,) = say(wishes.add_memory("likes tea", metadata={"b": 1, "a": None}, **owner))
    say(wishes.update_memory(memory.subject, content="likes green tea"))
    say(wishes.delete_memory(memory.subject))
    (hidden,) = say(wishes.add_memory("endless", **owner))
    for _ in range(500):
        say(wishes.update_memory(hidden.subject, content="endless"))
    say(wishes.delete_memory(hidden.subject))
    (message, *_) = say(wishes.add_message("hello", group="chat-1", role="ASSISTANT", metadata={}, **owner))
    say(wishes.add_message("hello again", group="chat-1", **owner))
    say(wishes.delete_message(message.subject.removeprefix("message/")))
    say(wishes.set_retention(message_days=30, memory_days=0, usage_log_days=None))
    say(wishes.create_client("sb-1", identity_zone="acme", subscribers=["a", "b-1"], roles=["auditor"], admin=False))
    say(wishes.revoke_client("sb-1"))
    say(wishes.create_token("t-1", user="user-é", roles=[]))
    say(wishes.revoke_token("t-1"))
    _forget(told, owner)
    return told


def _forget(told: Telling, owner: dict[str, str]) -> None:
    """Tell what retention, strategies and operators do."""
    say = told.say
    (space,) = say(wishes.create_space("user-é"))
    strategies = [
        {"type": "extract_memories", "trigger": {"eventCount": 1}, "opts": {"softDelete": True}},
        {"type": "soft_delete", "trigger": {"idle": 60}},
    ]
    (session,) = say(wishes.create_session(space.subject, "user-é", lifecycle_strategies=strategies))
    say(wishes.append_events(space.subject, session.subject, wishes.event("likes tea"), user="user-é"))
    say(wishes.execute(session.subject, "soft_delete", START), by="worker/retention")
    say(wishes.complete_extraction(space.subject, session.subject, "user-é"))
    say(wishes.erase("session", session.subject))
    (old,) = say(wishes.add_memory("old", **owner))
    say(wishes.expire("memory", old.subject, old.time + 1, 3), by="worker/retention")
    say(wishes.add_memory("forget me", **owner))
    (hidden,) = say(wishes.erase_owner(**owner))
    for _ in range(2):
        say(wishes.erase_range("owner", hidden.subject), by="worker/eraser")
    say(wishes.hide("space", space.subject), by="worker/restore")
    say(wishes.create_key("k-1"))
    say(wishes.revoke_key("k-1"))


def golden() -> dict[Path, str]:
    """Return every golden file: path and text."""
    told, files = story(), dict[Path, str]()
    for example in told.facts:
        files.setdefault(HERE / "facts" / f"{example.record.headers['ce_type']}.json", example.text())
    for record in told.commands:
        path = HERE / "commands" / f"{record.headers['ce_type']}.json"
        text = _json(key=record.key, headers=dict(record.headers), value=(record.value or b"").decode())
        files.setdefault(path, text)
    return files


def write(files: dict[Path, str]) -> int:
    """Write the files that are missing, and nothing if one is there with other bytes: then raise FileExistsError."""
    changed = [path for path, text in files.items() if path.exists() and path.read_text(encoding="utf-8") != text]
    if changed:
        message = f"a released format is for ever; the story no longer gives {', '.join(path.name for path in changed)}"
        raise FileExistsError(message)
    missing = [path for path in files if not path.exists()]
    for path in missing:
        path.parent.mkdir(exist_ok=True)
        with path.open("x", encoding="utf-8", newline="\n") as file:
            file.write(files[path])
    return len(missing)


def _json(**fields: Any) -> str:
    return json.dumps(fields, ensure_ascii=False, indent=1) + "\n"


if __name__ == "__main__":
    try:
        count = write(golden())
    except FileExistsError as error:
        sys.exit(str(error))
    sys.stdout.write(f"{count} files written\n")
