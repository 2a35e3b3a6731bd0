"""The stand-alone verifier accepts what is good, and refuses every changed export, head and receipt."""

from __future__ import annotations

import asyncio
import copy
import json
import random
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from mnemolog.audit import verifier
from mnemolog.audit.exports import Manifest, export
from mnemolog.audit.found import Found
from mnemolog.audit.reading import pages
from mnemolog.audit.receipts import receipt, scanned
from mnemolog.audit.signing import Key, new_head
from mnemolog.audit.walk import Walk
from mnemolog.domain.streams import own_id
from tests.histories import Told

pytestmark = pytest.mark.unit

KEY, OTHER = Key(bytes(range(32))), Key(bytes(range(1, 33)))


async def heads_of(told: Told) -> dict[int, tuple[int, str]]:
    """Return each slot's number of facts and root."""
    heads: dict[int, tuple[int, str]] = {}
    for partition in range(told.partitions):
        walk = Walk(partition, told.partitions, Found())
        async for page in pages(told.log, partition):
            walk.take(page)
        heads |= {slot: (size, root.hex()) for slot, (size, root) in walk.heads().items()}
    return heads


class Proofs:
    """A past with three heads signed on the way, an export of it, and a receipt for each erased memory."""

    def __init__(self, folder: Path) -> None:
        """Live through it."""
        self.folder = folder
        self.export, self.heads = folder / "export", folder / "heads"
        self.receipts: list[Mapping[str, Any]] = []
        asyncio.run(self._lived())

    async def _lived(self) -> None:
        told, before = Told(21, 2), None
        self.heads.mkdir()
        for _ in range(3):
            await told.more(60)
            before = new_head(KEY, "2026-11-21T00:00:00Z", await heads_of(told), before)
            (self.heads / f"head-{before['number']:08}.json").write_bytes(verifier.canonical(before))
        self.export.mkdir()
        await export(told.log, 2, self.export, Manifest("now", {}))
        for partition in range(2):
            told.log.compact(partition, nulls=True)
            for record in await told.log.facts(partition, 0, 100_000):
                if record.headers.get("ce_type", "").split(".")[1:2] == ["erased"]:
                    stream, slot = record.headers["stream"], int(record.headers["slot"])
                    scan = await scanned(told.log, partition, stream, slot)
                    self.receipts.append(KEY.signed(receipt(scan, "now", {"log": scan.left()}, ())))


@pytest.fixture(scope="module")
def proofs(tmp_path_factory: pytest.TempPathFactory) -> Proofs:
    """Give proofs that must not be written to."""
    return Proofs(tmp_path_factory.mktemp("proofs"))


def leaves(value: Any, way: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the way to every value that holds no others."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else None
    if inner is None or not value:
        yield way
    else:
        for step, one in inner:
            yield from leaves(one, (*way, step))


def changed(document: Mapping[str, Any], dice: random.Random) -> dict[str, Any]:
    """Return a document with one value changed or one field removed."""
    other: Any = copy.deepcopy(document)
    *above, last = dice.choice(list(leaves(other)))
    place = other
    for step in above:
        place = place[step]
    value = place[last]
    if isinstance(value, int):
        place[last] = value + 1
    elif isinstance(value, str) and value:
        at = dice.randrange(len(value))
        place[last] = value[:at] + ("0" if value[at] != "0" else "1") + value[at + 1 :]
    else:
        del place[last]
    return dict(other)


def run(*arguments: object) -> int:
    """Run the verifier."""
    return verifier.main([str(argument) for argument in arguments])


def test_what_is_good_is_accepted(proofs: Proofs, capsys: pytest.CaptureFixture[str]) -> None:
    """An export with its heads, the heads, and receipts that the heads agree with."""
    trust = ("--trust", KEY.public, "--heads", proofs.heads)
    assert run("export", proofs.export) == 0
    assert run("export", proofs.export, *trust) == 0
    assert run("heads", proofs.heads, "--trust", KEY.public) == 0
    assert "as 3 signed heads say" in capsys.readouterr().out
    assert len(proofs.receipts) > 5
    for number, one in enumerate(proofs.receipts):
        file = proofs.folder / f"receipt-{number}.json"
        file.write_text(json.dumps(one))
        assert run("receipt", file, *trust) == 0
        assert own_id(one["stream"]) in capsys.readouterr().out


@pytest.mark.parametrize("seed", range(60))
def test_a_changed_receipt_is_refused(proofs: Proofs, tmp_path: Path, seed: int) -> None:
    """Whatever is changed in it, also by somebody who can sign it anew."""
    dice = random.Random(seed)
    forged = changed(dice.choice(proofs.receipts), dice)
    if seed % 2 and forged.keys() >= {"key", "signature"}:
        forged = changed_and_signed(dice.choice(proofs.receipts), dice)
    (tmp_path / "r.json").write_text(json.dumps(forged))
    assert run("receipt", tmp_path / "r.json", "--trust", KEY.public, "--heads", proofs.heads) == 1


def changed_and_signed(document: Mapping[str, Any], dice: random.Random) -> dict[str, Any]:
    """Return a receipt with something changed that it is to prove, signed with the right key."""
    free = {"key", "signature", "created", "unseen", "format"}
    proved = {name: value for name, value in document.items() if name not in free}
    while True:
        other = changed(proved, dice)
        # Transport headers are nobody's claim; all else of a receipt follows from links.
        sealed = (
            [[one["headers"].get(n) for n in verifier.SEALED] + [one["value"]] for one in other["erasures"]]
            if "erasures" in other
            else None
        )
        same = [[one["headers"].get(n) for n in verifier.SEALED] + [one["value"]] for one in proved["erasures"]]
        if {**other, "erasures": sealed} != {**proved, "erasures": same}:
            return KEY.signed({**{name: document[name] for name in ("created", "unseen", "format")}, **other})


@pytest.mark.parametrize("seed", range(40))
def test_a_changed_head_is_refused(proofs: Proofs, tmp_path: Path, seed: int) -> None:
    """A changed value, a head left out, one signed by a stranger."""
    dice = random.Random(seed)
    shutil.copytree(proofs.heads, tmp_path / "heads")
    files = sorted((tmp_path / "heads").iterdir())
    how = seed % 4
    if how == 3:
        files[1].unlink()
    else:
        file = dice.choice(files)
        head = changed(json.loads(file.read_bytes()), dice)
        if how == 1:
            head = {k: v for k, v in json.loads(file.read_bytes()).items() if k not in {"key", "signature"}}
            head = OTHER.signed(head)
        file.write_text(json.dumps(head))
    assert run("heads", tmp_path / "heads", "--trust", KEY.public) == 1


@pytest.mark.parametrize("seed", range(50))
def test_a_changed_export_is_refused(proofs: Proofs, tmp_path: Path, seed: int) -> None:
    """A line that is changed, left out, twice, or swapped; with a manifest that was made to fit, too."""
    dice = random.Random(seed)
    shutil.copytree(proofs.export, tmp_path / "export")
    file, told = tmp_path / "export" / "facts.jsonl", tmp_path / "export" / "manifest.json"
    lines = file.read_bytes().splitlines(keepends=True)
    manifest = json.loads(told.read_bytes())
    at, how = dice.randrange(len(lines)), seed % 5
    if how == 0:
        said = json.loads(lines[at])
        name = dice.choice([*verifier.SEALED[:1], *verifier.SEALED[2:], "value", "chain"])
        if name == "value":
            said["value"] = said["value"].replace(":", ": ", 1)
        else:
            said["headers"][name] += "0"
        lines[at] = json.dumps(said).encode() + b"\n"
    elif how == 1:
        del lines[at]
        manifest["facts"] -= 1
    elif how == 2:
        del lines[-3:]
        manifest["facts"] -= 3
    elif how == 4:
        lines.insert(at, lines[at])
        manifest["facts"] += 1
    else:
        manifest["heads"].pop(dice.choice(sorted(manifest["heads"])))
    file.write_bytes(b"".join(lines))
    if seed % 3:
        manifest["sha256"] = verifier.sha256(b"".join(lines)).hex()
    told.write_text(json.dumps(manifest))
    assert run("export", tmp_path / "export", "--heads", proofs.heads, "--trust", KEY.public) == 1


@pytest.mark.parametrize("seed", range(20))
def test_a_changed_part_is_refused(proofs: Proofs, tmp_path: Path, seed: int) -> None:
    """Also where its first facts are not in it: what is there continues the chain of what is there before it."""
    dice = random.Random(seed)
    shutil.copytree(proofs.export, tmp_path / "part")
    file, told = tmp_path / "part" / "facts.jsonl", tmp_path / "part" / "manifest.json"
    lines = [json.loads(line) for line in file.read_bytes().splitlines()]
    late = [line for line in lines if line["headers"]["version"] != "0"]
    there = {(line["headers"]["stream"], int(line["headers"]["version"])) for line in late}

    def write() -> int:
        file.write_bytes(raw := b"".join(json.dumps(line).encode() + b"\n" for line in late))
        manifest = json.loads(told.read_bytes()) | {"chosen": {"since": "then"}, "facts": len(late)}
        told.write_text(json.dumps(manifest | {"sha256": verifier.sha256(raw).hex()}))
        return run("export", tmp_path / "part")

    assert write() == 0
    follows = [one for one in late if (one["headers"]["stream"], int(one["headers"]["version"]) - 1) in there]
    changed = dice.choice(follows)
    changed["value"] = changed["value"].replace(":", ": ", 1)
    assert write() == 1


def test_a_new_key_is_named_by_the_old_one(tmp_path: Path) -> None:
    """A head by a key that nobody has named is refused; by one that the old key names it is not."""
    first = new_head(KEY, "a", {1: (1, "00" * 32)}, None)
    named = new_head(OTHER, "b", {1: (2, "11" * 32)}, first, old=KEY)
    verifier.check_heads([first, named, new_head(OTHER, "c", {1: (2, "11" * 32)}, named)], KEY.public)
    stranger = new_head(OTHER, "b", {1: (2, "11" * 32)}, first)
    for wrong in ([first, stranger], [first, named, new_head(KEY, "c", {}, named)]):
        with pytest.raises(verifier.Refused):
            verifier.check_heads(wrong, KEY.public)


def test_history_does_not_go_back(tmp_path: Path) -> None:
    """A signed head with fewer facts, or another root for as many, contradicts the one before it."""
    first = new_head(KEY, "a", {1: (2, "00" * 32)}, None)
    for slots in ({1: (1, "00" * 32)}, {1: (2, "11" * 32)}, {2: (9, "00" * 32)}):
        with pytest.raises(verifier.Refused, match="goes back"):
            verifier.check_heads([first, new_head(KEY, "b", slots, first)], KEY.public)


def test_the_verifier_is_one_file(proofs: Proofs, tmp_path: Path) -> None:
    """Copied somewhere else, it runs, and loads nothing of mnemolog."""
    copied = shutil.copy(verifier.__file__, tmp_path / "verify.py")
    program = "import runpy, sys; sys.argv = ['verify', *sys.argv[2:]]; sys.path[:] = [p for p in sys.path if p]\n"
    program += f"try: runpy.run_path({str(copied)!r}, run_name='__main__')\n"
    program += (
        "except SystemExit as end: sys.exit(end.code or len([m for m in sys.modules if m.startswith('mnemolog')]))"
    )
    arguments = [sys.executable, "-P", "-c", program, "-", "export", str(proofs.export)]
    done = subprocess.run(arguments, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert (done.returncode, done.stdout[-12:]) == (0, "a whole log\n"), done.stdout + done.stderr
