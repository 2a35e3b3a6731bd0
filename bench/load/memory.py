"""How much memory each process of a deployment holds: resident, as Linux counts it."""

from __future__ import annotations

import os
from pathlib import Path

_PAGE = os.sysconf("SC_PAGE_SIZE")


def resident(root: int) -> dict[str, int]:
    """Return the resident bytes of a process's descendants, by name; nothing where there is no /proc."""
    parents: dict[int, int] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            parents[int(path.parent.name)] = int(path.read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue  # it has ended meanwhile
    found: dict[str, int] = {}
    for pid in sorted(parents):
        if _descends(pid, root, parents) and (size := _size(pid)):
            name = _name(pid)
            found[name if name not in found else f"{name} {pid}"] = size
    return found


def _descends(pid: int, root: int, parents: dict[int, int]) -> bool:
    while pid in parents:
        pid = parents[pid]
        if pid == root:
            return True
    return False


def _size(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE
    except OSError:
        return 0


def _name(pid: int) -> str:
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")
    except OSError:
        return "?"
    if "mnemolog.runtime.cli" in words:
        after = words[words.index("mnemolog.runtime.cli") + 1 :]
        return " ".join(after[: 2 if after[0] == "worker" else 1])
    program = Path(words[0]).name
    return "kafka" if program == "java" else program.split(" ")[0]
