"""`mnemolog backup`, `restore` and `erasures`: nothing forgotten since a backup comes back with it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mnemolog.domain.record import FactRecord
from mnemolog.domain.streams import kind_of
from tests import wishes
from tests.unit.runtime.commands import Run, bring, facts

pytestmark = pytest.mark.unit
SECRET = "the launch code of the red button is"


def decided(run: Run) -> None:
    """Have everything in the folder decided."""
    assert run("clients", "create", "--tenant", "other").code == 0


def of(data: Path, kind: str) -> list[FactRecord]:
    """Return the first fact of each stream of a kind, messages each by themselves."""
    found: dict[tuple[str, str], FactRecord] = {}
    for record in facts(data):
        if record.value is not None and record.headers.get("stream") and kind_of(record.headers["stream"]) == kind:
            found.setdefault(
                (record.headers["stream"], record.headers["ce_subject"] if kind == "group" else ""), record
            )
    return list(found.values())


def ids(data: Path, kind: str) -> list[str]:
    """Return the ids of what there is of a kind."""
    return [record.headers["ce_subject"].rpartition("/")[2] for record in of(data, kind)]


def files_with(folder: Path, text: str) -> list[str]:
    """Return the files under a folder that hold a text."""
    return [path.name for path in folder.rglob("*") if path.is_file() and text.encode() in path.read_bytes()]


@pytest.fixture
def story(run: Run, data: Path, tmp_path: Path) -> dict[str, list[str]]:
    """Bring two of everything, back up, then forget one of each in its own way, and say something new."""
    for nth in ("0", "1"):
        bring(data, wishes.add_memory(f"{SECRET} memory {nth}"))
        bring(data, wishes.add_message(f"{SECRET} message {nth}"))
        bring(data, wishes.add_memory(f"{SECRET} of owner {nth}", agent=f"owned {nth}"))
    for _ in range(3):
        bring(data, wishes.create_space("u1", description=f"{SECRET} space"))
    decided(run)
    spaces = ids(data, "space")
    for space in [*spaces, spaces[0], spaces[0]]:
        bring(data, wishes.create_session(space, "u1"))
    decided(run)
    sessions = {record.headers["ce_subject"]: json.loads(record.value or b"")["body"] for record in of(data, "session")}
    for session, body in sessions.items():
        event = [wishes.event(f"{SECRET} event {nth}") for nth in range(4)]
        bring(data, wishes.append_events(body["space"], session, *event, user="u1"))
    bring(data, wishes.create_key("k-9"))
    run("clients", "create", "--tenant", "acme", "--id", "sb")
    run("clients", "create", "--tenant", "acme", "--id", "kept")
    assert run("backup", str(tmp_path / "backup")).code == 0
    memories, messages = ids(data, "memory"), ids(data, "group")
    within = [session for session, body in sessions.items() if body["space"] == spaces[0]]
    bring(data, wishes.delete_memory(memories[0]))
    bring(data, wishes.delete_message(messages[0]))
    bring(data, wishes.erase_owner(agent="owned 0"))
    bring(data, wishes.erase("session", within[0]))
    bring(data, wishes.delete_session(spaces[0], within[1], "u1"))
    bring(data, wishes.delete_event(spaces[0], within[2], 0, "u1"))
    bring(data, wishes.delete_event(spaces[0], within[2], 1, "u1"))
    bring(data, wishes.erase_range("session", within[2], "event/1"))
    bring(data, wishes.erase("space", spaces[1]))
    bring(data, wishes.delete_space(spaces[2], "u1"))
    bring(data, wishes.add_memory("said after the backup"))
    bring(data, wishes.revoke_key("k-9"))
    run("clients", "revoke", "sb")
    decided(run)
    return {"spaces": spaces, "sessions": within, "memories": memories, "messages": messages}


def test_guarantee_7_a_backup_brings_nothing_back(
    run: Run, data: Path, tmp_path: Path, story: dict[str, list[str]]
) -> None:
    """What was erased since is in no file of the restored folder; what was hidden or revoked is so again."""
    listed = tmp_path / "erasures.jsonl"
    assert run("erasures", "list", str(listed)).code == 0
    assert files_with(tmp_path / "backup", f"{SECRET} memory 0") == ["mnemolog.db"], "or the search would find nothing"
    assert SECRET not in listed.read_text()
    assert not any(name in listed.read_text() for name in ("owned", "u1", "bot", "ann", "sb"))
    new = tmp_path / "new"
    assert run("restore", str(tmp_path / "backup"), "--erasures", str(listed), where=new).code == 0
    assert "k-9" in run("keys", "list", where=tmp_path / "backup").out
    assert run("keys", "list", where=new).out == "none yet\n"
    gone = ("memory 0", "message 0", "of owner 0", "event 1")
    kept = ("memory 1", "message 1", "of owner 1", "event 0", "event 2", "space")
    assert [text for text in gone if text != "event 1" and files_with(new, f"{SECRET} {text}")] == []
    assert all(files_with(new, f"{SECRET} {text}") for text in kept)
    values = [(r.headers["stream"], r.headers["ce_subject"], r.headers["ce_type"]) for r in facts(new) if r.value]
    left = {(stream.rpartition("/")[2], subject) for stream, subject, kind in values if not kind.endswith(".erased.v1")}
    first, hidden, third = story["sessions"]
    assert not {stream for stream, _ in left} & {first, story["spaces"][1], story["memories"][0]}
    assert (third, "event/1") not in left
    assert {(third, "event/0"), (third, "event/2"), (hidden, hidden)} <= left
    for kind, subject in (
        ("session-deleted", hidden),
        ("event-deleted", "event/0"),
        ("space-deleted", story["spaces"][2]),
    ):
        assert any(kind in what and subject == about for _, about, what in values), kind
    clients = {client["id"] for client in json.loads(run("clients", "list", "--json", where=new).out)}
    assert "kept" in clients
    assert "sb" not in clients
    assert not files_with(new, "said after the backup")
    verified = run("audit", "verify", where=new)
    assert verified.code == 0, verified


def test_a_restored_folder_goes_on(run: Run, data: Path, tmp_path: Path, story: dict[str, list[str]]) -> None:
    """It takes commands, can be backed up as one file and restored; its list knows what the list before did."""
    del story
    listed = tmp_path / "erasures.jsonl"
    run("erasures", "list", str(listed))
    new, third, packed = tmp_path / "new", tmp_path / "third", tmp_path / "all.tar"
    run("restore", str(tmp_path / "backup"), "--erasures", str(listed), where=new)
    bring(new, wishes.add_memory("said in the restored one"))
    assert run("clients", "create", "--tenant", "acme", "--id", "sb", where=new).code == 0
    assert run("backup", str(packed), where=new).code == 0
    assert run("restore", str(packed), "--force", where=third).code == 0
    assert [r for r in facts(third) if r.value] == [r for r in facts(new) if r.value]
    later = tmp_path / "later.jsonl"
    assert run("erasures", "list", str(later), where=third).code == 0
    again = run("restore", str(tmp_path / "backup"), "--erasures", str(later), where=tmp_path / "fourth")
    assert again.code == 0, again
    assert not files_with(tmp_path / "fourth", f"{SECRET} memory 0")
    assert run("erasures", "apply", str(later), where=tmp_path / "fourth").out.startswith("0 things")


def test_a_restore_without_a_newer_list_is_refused(run: Run, data: Path, tmp_path: Path) -> None:
    """No list, the backup's own, one cut short, one of another log: each is refused by what is wrong with it."""
    bring(data, wishes.add_memory("one"))
    bring(data, wishes.add_memory("two"))
    decided(run)
    bring(data, wishes.delete_memory(ids(data, "memory")[0]))
    decided(run)
    backup, new = tmp_path / "backup", tmp_path / "new"
    run("backup", str(backup))
    assert "--force" in run("restore", str(backup), where=new).err
    own = str(backup / "erasures.jsonl")
    assert "knows nothing of what was erased since" in run("restore", str(backup), "--erasures", own, where=new).err
    short, foreign = tmp_path / "short", tmp_path / "foreign"
    short.write_bytes(b"".join((backup / "erasures.jsonl").read_bytes().splitlines(keepends=True)[:-1]))
    assert "cut short" in run("restore", str(backup), "--erasures", str(short), where=new).err
    assert "not a list" in run("restore", str(backup), "--erasures", str(backup / "manifest.json"), where=new).err
    run("clients", "create", "--tenant", "acme", where=tmp_path / "else")
    run("erasures", "list", str(foreign), where=tmp_path / "else")
    assert "another log" in run("restore", str(backup), "--erasures", str(foreign), where=new).err
    assert not new.exists()
    assert run("restore", str(backup), "--erasures", str(foreign), "--force", where=new).code == 0


def test_a_backup_is_checked_and_replaces_nothing(run: Run, data: Path, tmp_path: Path) -> None:
    """A changed or incomplete backup is refused; neither a backup nor a restore writes over what is there."""
    bring(data, wishes.add_memory("one"))
    decided(run)
    backup, new = tmp_path / "backup", tmp_path / "new"
    assert run("backup", str(backup), where=tmp_path / "nothing").code == 1
    assert run("backup", str(backup)).code == 0
    assert "there already" in run("backup", str(backup)).err
    assert "not empty" in run("restore", str(backup), "--force").err
    database = backup / "mnemolog.db"
    whole = database.read_bytes()
    database.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    assert "not the one that its manifest speaks of" in run("restore", str(backup), "--force", where=new).err
    (backup / "manifest.json").unlink()
    assert "not a complete backup" in run("restore", str(backup), "--force", where=new).err
    assert [path.name for path in tmp_path.iterdir() if "new" in path.name] == []
