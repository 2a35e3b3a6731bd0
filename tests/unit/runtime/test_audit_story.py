"""docs/audit.md's story, told by the commands that stand there: what was known, who changed it, can it be believed."""

from __future__ import annotations

import asyncio
import re
import shlex
from pathlib import Path

import pytest

from mnemolog.audit import verifier
from mnemolog.domain.codec import Envelope, encode_command
from mnemolog.domain.routing import slot_of_command
from mnemolog.domain.rules import Rules
from mnemolog.domain.schema import Command
from mnemolog.runtime.folder import Folder
from projections.projector import Projector
from projections.store_sqlite import SqliteStore
from tests.given import KEY, NOON
from tests.unit.runtime.commands import Run, facts
from tests.wishes import add_memory, update_memory
from workers.log_sqlite import SqliteLog
from workers.sequencing import Sequencing
from workers.snapshot_memory import MemorySnapshot

pytestmark = pytest.mark.unit

PAGE = Path(__file__).parents[3] / "docs" / "audit.md"


def told(data: Path, command: Command, number: int, actor: str, at: int) -> None:
    """Have a command decided as it was at a time."""

    async def decided() -> None:
        log, store = SqliteLog(Folder(data).database, lambda: at), SqliteStore(Folder(data).connection)
        name = f"command-{number}"
        slot = slot_of_command("acme", name, command) or 0
        await log.append(0, [encode_command(Envelope(name, "acme", actor, slot, KEY, command))])
        sequencing = Sequencing(log, lambda: MemorySnapshot(KEY), Rules())
        await sequencing.start()
        await sequencing.step()
        while await Projector(log, store).step():
            pass
        await store.close()
        await log.close()

    asyncio.run(decided())


def commands(*, head: int) -> list[list[str]]:
    """Return the `mnemolog` commands of the page's first chapters, word by word."""
    blocks = re.findall(r"```sh\n(.*?)```", PAGE.read_text("utf-8"), flags=re.DOTALL)[:head]
    return [shlex.split(block)[1:] for block in blocks]


def test_three_commands_answer_what_was_known_and_who_changed_it(
    run: Run, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the agent knew that day, who changed it since, and that neither was altered."""
    told(data, add_memory("lives in Berlin"), 1, "client/sb", NOON + 1_000)
    memory = facts(data)[0].headers["ce_subject"]
    told(data, update_memory(memory, content="lives in Hamburg"), 2, "client/crm", NOON + 2_001_000)
    monkeypatch.chdir(tmp_path)
    run("audit", "sign", "--key", "audit.key", "--heads", "./heads")
    key = verifier.read_heads(Path("heads"))[0]["key"]
    replay, show, verify = commands(head=3)

    then = run(*replay)
    assert then.code == 0
    assert '"content":"lives in Berlin"' in then.out
    assert "Hamburg" not in then.out

    since = run(*show)
    assert 'content: "lives in Berlin" → "lives in Hamburg"' in since.out
    assert f"2026-11-18T12:00:02.001000Z  acme/memory/{memory}@1  memory-updated  by client/crm" in since.out

    believed = run(*verify[:-1], key)
    assert (believed.code, believed.out.splitlines()[-1]) == (0, "nothing differs"), believed
