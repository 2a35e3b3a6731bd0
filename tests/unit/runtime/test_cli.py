"""The command line: exit codes, and one sentence without a traceback for each mistake."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.runtime.commands import Run, facts, made

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("clients",), "argument COMMAND"),
        (("fly",), "invalid choice: 'fly'"),
        (("clients", "create"), "--tenant"),
        (("tokens", "create", "--tenant", "acme"), "--user"),
        (("clients", "create", "--tenant", "a/b"), "--tenant must be a name without a slash"),
        (("clients", "create", "--tenant", " "), "--tenant"),
        (("clients", "create", "--tenant", "a", "--subscribers", "b"), "--subscribers needs --identityzone"),
        (("clients", "create", "--tenant", "a", "--id", "x" * 5_000), "this cannot be: "),
        (("tokens", "create", "--tenant", "a", "--user", " "), "this cannot be: "),
        (("tokens", "create", "--tenant", "a\udcff", "--user", "u"), "not UTF-8"),
        (("log", "show", "--last", "0"), "argument --last"),
        (("log", "show", "--last", "some"), "argument --last"),
        (("serve", "--port", "eighty"), "--port must be a whole number"),
        (("serve", "--no-auth", "--host", "::"), "MNEMOLOG_NO_AUTH"),
        (("config", "show", "--config", "no-such.toml"), "no-such.toml cannot be read"),
    ],
)
def test_a_wrong_command_line_is_2(arguments: tuple[str, ...], says: str, run: Run, data: Path) -> None:
    """It says what is wrong, on stderr only, and nothing is written to the log."""
    said = run(*arguments)
    assert (said.code, said.out) == (2, "")
    assert says in said.err
    assert not (data / "mnemolog.db").exists() or not facts(data)


def test_a_wrong_variable_is_2(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the command is: a setting that does nothing would be a trap."""
    monkeypatch.setenv("MNEMOLOG_PROT", "1")
    said = run("clients", "list")
    assert (said.code, said.out) == (2, "")
    assert "MNEMOLOG_PROT is not a setting" in said.err


@pytest.mark.parametrize(
    ("line", "must"),
    [
        ("port = true", "a whole number, not True"),
        ("port = 80.5", "a whole number, not 80.5"),
        ("write_wait = false", "a number of seconds"),
        ("never = 1", "true or false"),
        ("model = 5", "text, not 5"),
    ],
)
def test_a_value_of_a_wrong_type_is_2(line: str, must: str, run: Run, tmp_path: Path) -> None:
    """It is not bent into the setting's type, but named, with the file that it stands in."""
    file = tmp_path / "mnemolog.toml"
    file.write_text(line)
    said = run("config", "show", "--config", str(file))
    assert (said.code, said.out) == (2, "")
    assert f"{line.split(maxsplit=1)[0]} in {file} must be {must}" in said.err


@pytest.mark.parametrize("command", [("clients", "list"), ("log", "show"), ("clients", "create", "--tenant", "acme")])
def test_a_folder_that_cannot_be_used_is_1(command: tuple[str, ...], run: Run, tmp_path: Path) -> None:
    """A file in its place, or foreign bytes in its database's: one sentence that names it."""
    (tmp_path / "file").write_text("no folder")
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign" / "mnemolog.db").write_bytes(b"these are no pages of SQLite" * 99)
    for name in ("file", "foreign"):
        said = run(*command, where=tmp_path / name)
        assert (said.code, said.out) == (1, "")
        assert said.err.startswith("mnemolog: ")
        assert str(tmp_path / name) in said.err


def test_help_and_version_are_0(run: Run) -> None:
    """They print what was asked for, and do nothing else."""
    assert run("--version").out.startswith("mnemolog ")
    for command in ((), ("clients",), ("clients", "create"), ("log", "show"), ("serve",)):
        said = run(*command, "--help")
        assert (said.code, said.err) == (0, "")
        assert said.out.startswith("usage: mnemolog")


def test_the_settings_are_shown_as_they_hold(run: Run, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Variables and options are in it already, in both forms."""
    monkeypatch.setenv("MNEMOLOG_PORT", "1234")
    told = made(run("config", "show", "--json"))
    assert (told["port"], told["data"]) == (1234, str(data))
    assert "MNEMOLOG_PORT" in run("config", "show").out
    assert not data.exists()
