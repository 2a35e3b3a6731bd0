"""Appends through HTTP on a real server: one client and thirty-two, at a session's start and at its 20,000th event.

Each is acknowledged when its facts are forced to disk and reads show them. The references of the same run: a bare
durable SQLite commit, and an HTTP request that does nothing.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

from bench.core import bare_commits
from bench.line import Line, latencies, middle, rate
from mnemolog.runtime.process import ServerProcess, run_json

_ROUNDS = 500
_CLIENTS = 32
_TOGETHER = 4_000
_BATCHES = 100
_EVENT = {"body": {"content": "hello, this is an event"}, "emitter": {"type": "user", "id": "u"}}


def appends(path: Path) -> dict[str, float]:
    """Return latencies in milliseconds and rates per second."""
    os.environ["MNEMOLOG_MODEL"] = "hashing"  # events are not embedded: the model would only take memory here
    path.mkdir()
    server = ServerProcess(path / "data").wait_ready()
    try:
        made = run_json("tokens", "create", "--tenant", "bench", "--user", "u", "--data", str(server.data))
        line = Line(server.url, f"Token {made['token']}")
        return _measure(line, server.pid) | _references(line, path)
    finally:
        server.stop()


def _measure(line: Line, pid: int) -> dict[str, float]:
    space = line.json("POST", "/api/v2/memory/new/", {})["memorySpaceId"]
    opened = {"participants": ["u"], "lifecycleStrategies": []}
    session = line.json("POST", f"/api/v2/memory/{space}/sessions/", opened)["id"]
    events = f"/api/v2/memory/{space}/sessions/{session}/events/"
    one = line.request("POST", events, _EVENT)
    many = line.request("POST", f"{events}batch/", {"events": [_EVENT] * 200})
    early = latencies(line, one, _ROUNDS)
    start, cpu = time.perf_counter(), cpu_seconds(pid)
    for _ in range(_BATCHES):
        line.ask(many)
    batched = _BATCHES * 200 / (time.perf_counter() - start)
    batch_cpu = cpu_seconds(pid) - cpu
    late = latencies(line, one, _ROUNDS)
    cpu = cpu_seconds(pid)
    together = rate([line.again() for _ in range(_CLIENTS)], one, _TOGETHER)
    together_cpu = cpu_seconds(pid) - cpu
    return {
        "one client, first events, p50 ms": middle(early),
        "one client, first events, p99 ms": middle(early, 0.99),
        "one client, after 20,000 events, p50 ms": middle(late),
        "one client, after 20,000 events, p99 ms": middle(late, 0.99),
        "events per second, batches of 200": round(batched),
        f"appends per second, {_CLIENTS} clients": round(together),
        "server's CPU per event, batches of 200, µs": round(batch_cpu / _BATCHES / 200 * 1e6),
        f"server's CPU per append, {_CLIENTS} clients, µs": round(together_cpu / _TOGETHER * 1e6),
    }


def _references(line: Line, path: Path) -> dict[str, float]:
    nothing = line.request("GET", "/health/live")
    commits = bare_commits(path / "bare.db")
    return {
        "reference: bare durable SQLite commit, p50 ms": middle(commits),
        "reference: bare durable SQLite commit, p99 ms": middle(commits, 0.99),
        "reference: HTTP request that does nothing, p50 ms": middle(latencies(line, nothing, _ROUNDS)),
        f"reference: such requests per second, {_CLIENTS} clients": round(
            rate([line.again() for _ in range(_CLIENTS)], nothing, _TOGETHER)
        ),
    }


def cpu_seconds(pid: int) -> float:
    """Return the CPU time that a process has used (Linux; 0 elsewhere)."""
    stat = Path(f"/proc/{pid}/stat")
    if not stat.exists():
        return 0.0
    fields = stat.read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
