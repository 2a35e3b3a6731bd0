"""Slow and broken clients of a real server: what they begin and do not finish harms nobody and stores nothing."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from mnemolog.runtime.process import ServerProcess
from tests.system.test_faults import INVOKER, Api, api_of
from tests.system.test_kill import eventually

pytestmark = pytest.mark.system

CONNECTIONS = 200
MIB = 1 << 20


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """Start a server that embeds by hashing."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MNEMOLOG_MODEL", "hashing")
        started = ServerProcess(tmp_path_factory.mktemp("slow") / "data").wait_ready()
    yield started
    started.stop()


@pytest.fixture
def api(server: ServerProcess) -> Api:
    """Return a client."""
    return api_of(server)


def connected(server: ServerProcess) -> socket.socket:
    """Return a bare connection."""
    where = urlsplit(server.url)
    return socket.create_connection((where.hostname or "", where.port or 0), timeout=20)


def head(api: Api, length: int) -> bytes:
    """Return the head of a request that adds a memory."""
    lines = ["POST /v1/memories HTTP/1.1", "Host: x", f"Authorization: Bearer {api.token}", f"Content-Length: {length}"]
    return "\r\n".join([*lines, "", ""]).encode()


def resident(server: ServerProcess) -> int:
    """Return the server's resident memory in bytes."""
    status = Path(f"/proc/{server.pid}/status").read_text().splitlines()
    (line,) = [line for line in status if line.startswith("VmRSS")]
    return int(line.split()[1]) << 10


def count(api: Api) -> int:
    """Return how many memories there are."""
    return int(api("GET", "/v1/memories?$top=0&$count=true").body["@odata.count"])


def test_guarantee_10_a_half_sent_request_stores_nothing_and_holds_up_nobody(server: ServerProcess, api: Api) -> None:
    """Cut anywhere, in its head or in its body, and hung up on: others are served meanwhile, and nothing is kept."""
    before = count(api)
    whole = json.dumps({**INVOKER, "content": "never whole"}).encode()
    request = head(api, len(whole)) + whole
    with ExitStack() as held:
        for cut in range(5, len(request) - 1, 40):
            half = held.enter_context(connected(server))
            half.sendall(request[:cut])
        assert api.add(1).status == 201
        assert count(api) == before + 1
    assert api.add(2).status == 201
    assert count(api) == before + 2


def test_a_client_that_hangs_up_before_its_answer_harms_nobody(server: ServerProcess, api: Api) -> None:
    """Its write may be kept or not, once; the server goes on."""
    before = count(api)
    for number in range(20):
        body = json.dumps({**INVOKER, "content": f"hung up {number}"}).encode()
        with connected(server) as gone:
            gone.sendall(head(api, len(body)) + body)
    assert api.add(3).status == 201
    assert before < count(api) <= before + 21
    assert api.ready().status == 200


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is read from /proc")
def test_memory_is_bounded_under_200_connections(server: ServerProcess, api: Api) -> None:
    """Each has announced a body of 64 MiB and sends as much of it as the server takes: refused, and never kept."""
    for number in range(10):
        assert api.add(number).status == 201
    before = resident(server)
    highest = before
    with ExitStack() as held:
        several = [held.enter_context(connected(server)) for _ in range(CONNECTIONS)]
        for one in several:
            one.setblocking(False)
            one.send(head(api, 64 * MIB) + b'{"content": "')
        deadline = time.monotonic() + 5
        while time.monotonic() < deadline:
            for one in several:
                try:
                    one.send(b"x" * 65_536)
                except OSError:
                    continue
            highest = max(highest, resident(server))
        assert api.add(99).status == 201
    assert highest - before < 160 * MIB, f"{(highest - before) / MIB:.0f} MiB for {CONNECTIONS} connections"
    assert eventually(lambda: api.ready().status, lambda status: status == 200) == 200


def test_guarantee_10_what_is_no_http_is_refused_and_the_server_goes_on(server: ServerProcess, api: Api) -> None:
    """Bytes of another protocol, a head without end, a length that is none: an error or a closed connection."""
    for sent in (
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET / HTTP/9.9\r\n\r\n",
        b"POST /v1/memories HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
        b"POST /v1/memories HTTP/1.1\r\nHost: x\r\nContent-Length: 1e3\r\n\r\n",
        b"POST /v1/memories HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"GET /" + b"a" * 200_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\n" + b"X-A: " + b"a" * 200_000 + b"\r\n\r\n",
    ):
        with connected(server) as strange:
            try:
                strange.sendall(sent)
                strange.shutdown(socket.SHUT_WR)
                answered = strange.recv(1 << 16)
            except OSError:
                answered = b""
            assert not answered or answered.split()[1][:1] == b"4", answered[:200]
    assert api.ready().status == 200
