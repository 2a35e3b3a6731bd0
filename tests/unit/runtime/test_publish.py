"""`mnemolog publish` and `mnemolog outcomes tail` on a data folder, with no server running on it."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest

from tests.unit.runtime.commands import Run, Said

pytestmark = pytest.mark.unit
GONE = "01a1ee56-5e7b-82f6-9107-b841a9b0cc2c"


def memory(content: str = "one", **fields: Any) -> dict[str, Any]:
    """Return a line that adds a memory."""
    target = {"agent": "a", "invoker": "i"}
    return {"type": "memory.add-memory.v1", "target": target, "parts": [{"content": content}], **fields}


def lines(path: Path, *documents: dict[str, Any] | str) -> Path:
    """Write a file of lines."""
    path.write_text("".join((d if isinstance(d, str) else json.dumps(d)) + "\n" for d in documents), "utf-8")
    return path


def published(run: Run, file: Path | str, *options: str) -> tuple[dict[str, int], Said]:
    """Publish a file for the tenant acme; return the report and what was said."""
    said = run("publish", str(file), "--tenant", "acme", "--json", *options)
    return json.loads(said.out), said


def test_a_file_is_published_and_each_line_accounted_for(run: Run, tmp_path: Path) -> None:
    """Accepted, rejected and not valid; the complaints name their lines, the exit code says that there are some."""
    forget = {"type": "memory.delete-memory.v1", "target": {"memory": GONE}, "parts": []}
    file = lines(tmp_path / "in.jsonl", memory(), memory(), "", forget, memory(""), "{", '{"a": NaN}', memory("two"))
    report, said = published(run, file)
    assert report == {"lines": 7, "accepted": 3, "repeated": 0, "rejected": 1, "invalid": 3, "following": 9}
    assert said.code == 1
    assert "line 4: rejected, not-found" in said.err
    assert "line 5: not sent: memory.add-memory.v1: 0.content" in said.err
    assert "line 6: not sent: the line is not valid JSON" in said.err
    shown = run("log", "show", "--json").out.splitlines()
    assert [json.loads(fact)["value"]["body"]["content"] for fact in shown] == ["one", "one", "two"]


def test_guarantee_3_the_same_file_twice_changes_nothing(run: Run, tmp_path: Path) -> None:
    """Also longer than before: what was there is repeated, what is new accepted. Another name is another run."""
    file = lines(tmp_path / "in.jsonl", memory(), memory(key="mine"))
    assert published(run, file)[0]["accepted"] == 2
    lines(file, memory(), memory(key="mine"), memory("new"))
    report, said = published(run, file)
    assert (report["accepted"], report["repeated"], said.code) == (1, 2, 0)
    report, _ = published(run, file, "--name", "other")
    assert (report["accepted"], report["repeated"]) == (2, 1)


def test_a_key_used_again_with_something_else_is_rejected(run: Run, tmp_path: Path) -> None:
    """Of two lines with one key and two texts, the second is refused; each has its own outcome."""
    report, said = published(run, lines(tmp_path / "in.jsonl", memory("a", key="k"), memory("b", key="k")))
    assert (report["accepted"], report["rejected"]) == (1, 1)
    assert "line 2: rejected, key-reused" in said.err


def test_it_goes_on_from_a_line(run: Run, tmp_path: Path) -> None:
    """Lines before it are not looked at; keys are the same as those of the whole run."""
    file = lines(tmp_path / "in.jsonl", "nonsense", memory("two"), memory("three"))
    report, _ = published(run, file, "--from", "3")
    assert report == {"lines": 1, "accepted": 1, "repeated": 0, "rejected": 0, "invalid": 0, "following": 4}
    report, _ = published(run, file, "--from", "2")
    assert (report["accepted"], report["repeated"]) == (1, 1)


def test_standard_input_is_a_file_too(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """`-` reads it; the report for people is a sentence."""

    class Stdin:
        buffer = io.BytesIO(json.dumps(memory()).encode())

    monkeypatch.setattr("sys.stdin", Stdin)
    said = run("publish", "-", "--tenant", "acme")
    assert said.out == "1 commands: 1 accepted, 0 repeated (accepted before), 0 rejected, 0 not valid\n"
    assert said.code == 0


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["publish", "none.jsonl", "--tenant", "acme"], "none.jsonl cannot be read"),
        (["publish", "-"], "--tenant must say whose"),
        (["publish", "-", "--to", "http://127.0.0.1:1", "--credentials", "none.json"], "is not what `clients`"),
        (["publish", "-", "--tenant", "acme", "--from", "0"], "must be a whole number from 1 on"),
    ],
)
def test_a_wrong_command_line_is_2(arguments: list[str], says: str, run: Run) -> None:
    """What is wrong is named."""
    said = run(*arguments)
    assert (said.code, says in said.err) == (2, True), said.err


def test_a_server_that_is_away_ends_the_run_with_1(run: Run, tmp_path: Path) -> None:
    """Kafka that nobody runs: a sentence, no traceback."""
    file = lines(tmp_path / "in.jsonl", memory())
    said = run("publish", str(file), "--to", "http://", "--tenant", "acme")
    assert said.code == 1
    assert "is not the address of a server" in said.err
    assert "run the same command with --from 1" in said.err


def test_outcomes_are_listed_newest_last(run: Run, tmp_path: Path) -> None:
    """One line each: where the command stood, its id, what became of it; JSON for programs."""
    forget = {"type": "memory.delete-memory.v1", "target": {"memory": GONE}, "parts": []}
    published(run, lines(tmp_path / "in.jsonl", memory(), forget, memory()))
    shown = run("outcomes", "tail").out.splitlines()
    assert ["accepted" in line for line in shown] == [True, False, True]
    assert "rejected  not-found: there is no memory with this id" in shown[1]
    (newest,) = run("outcomes", "tail", "--last", "1", "--json").out.splitlines()
    assert json.loads(newest)["source"] == "0:2"
    assert json.loads(newest)["facts"][0]["stream"].startswith("acme/memory/")
