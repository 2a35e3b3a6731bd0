"""The publisher over HTTP, against a small server that answers as told: batches, retries, refusals, late outcomes."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from mnemolog.domain import cloud_event
from mnemolog.domain.codec import encode_outcome
from mnemolog.domain.outcomes import Accepted, Outcome
from mnemolog.domain.record import Position
from producers import Away, Invalid, Late, NotAllowed, NotPublished, Publisher, Receipt, TooLarge, over_http

pytestmark = pytest.mark.unit
Answer = tuple[int, Any]


class Fake:
    """A server on a port of its own; `script` gives the answers before it answers as usual."""

    def __init__(self) -> None:
        self.requests: list[tuple[str, dict[str, str], Any]] = []
        self.script: list[Callable[[list[Any]], Answer | None]] = []
        self.gate = threading.Event()
        self.gate.set()
        self.placed = 0
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                raw = self.rfile.read(int(self.headers["content-length"]))
                outer.gate.wait()
                found = outer.answer(self.path, {k.lower(): v for k, v in self.headers.items()}, raw)
                if found is None:
                    self.close_connection = True
                    return
                body = json.dumps(found[1]).encode()
                self.send_response(found[0])
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.thread = threading.Thread(target=self.server.serve_forever, args=[0.01])
        self.thread.start()
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"

    def answer(self, path: str, headers: dict[str, str], raw: bytes) -> Answer | None:
        """Return the answer to a request; None closes the connection without one."""
        if path == "/oauth/token":
            self.requests.append((path, headers, raw.decode()))
            return 200, {"access_token": f"t{len(self.requests)}", "expires_in": 3_600}
        body = json.loads(raw)
        events = body if isinstance(body, list) else [body]
        self.requests.append((path, headers, events))
        if self.script:
            return self.script.pop(0)(events)
        items = [self.item(event) for event in events]
        return 200, {"items": items} if isinstance(body, list) else items[0]

    def item(self, event: Any, *, outcome: bool = True) -> dict[str, Any]:
        """Return a receipt."""
        offset, self.placed = self.placed, self.placed + 1
        place = {"topic": "memory.commands", "partition": 0, "offset": offset, "slot": 7}
        found = {"id": event["id"], "command": "c-" + event["id"], **place}
        told = Outcome(found["command"], Accepted(()), Position(0, offset + 1), Position(0, offset))
        return {**found, "outcome": json.loads(encode_outcome(told).value)} if outcome else found

    def published(self) -> list[list[str]]:
        """Return the ids of each request to publish."""
        return [[event["id"] for event in body] for path, _, body in self.requests if path == "/commands"]


@pytest.fixture
def fake() -> Iterator[Fake]:
    """Run a server."""
    server = Fake()
    yield server
    server.gate.set()
    server.server.shutdown()
    server.server.server_close()
    server.thread.join()


def add(agent: Publisher, key: str = "", content: str = "x") -> Receipt:
    """Publish a memory."""
    return agent.add_memory(agent="a", invoker="i", content=content, key=key)


def refuse(status: int, text: str = "no") -> Callable[[list[Any]], Answer]:
    """Return an answer that refuses."""
    return lambda _: (status, {"error": {"code": str(status), "message": text}})


def under_way(agent: Publisher) -> None:
    """Wait until the publisher's thread has sent a request."""
    while not agent._transport._busy:  # type: ignore[attr-defined]
        time.sleep(0.001)


def hang_up(events: list[Any]) -> None:
    """Close the connection without an answer."""
    del events


def test_one_goes_structured_and_several_as_a_batch(fake: Fake) -> None:
    """What comes while a request is under way goes together, in order; the receipt has what the server said."""
    with Publisher(fake.url, tenant="acme") as agent:
        fake.gate.clear()
        first = add(agent, "k0")
        under_way(agent)
        rest = [add(agent, f"k{n}") for n in range(1, 4)]
        fake.gate.set()
        assert [agent.outcome(one).command for one in (first, *rest)] == ["c-k0", "c-k1", "c-k2", "c-k3"]
        assert [one.offset for one in (first, *rest)] == [0, 1, 2, 3]
        assert first.position(agent.outcome(first)) == "7/0:1"
    assert fake.published() == [["k0"], ["k1", "k2", "k3"]]
    kinds = [headers["content-type"] for _, headers, _ in fake.requests]
    assert kinds == [cloud_event.STRUCTURED, cloud_event.BATCH]
    assert all(headers["prefer"].startswith("wait=") for _, headers, _ in fake.requests)
    assert fake.requests[0][2][0]["tenant"] == "acme"


def test_what_was_not_answered_is_sent_again_with_the_same_ids(fake: Fake, monkeypatch: pytest.MonkeyPatch) -> None:
    """A closed connection, 500, 503 and 504, 429: a repeat is safe, so it is repeated."""
    monkeypatch.setattr(over_http, "_FIRST_PAUSE", 0.001)
    fake.script = [hang_up, refuse(500), refuse(503), refuse(504), refuse(429)]
    with Publisher(fake.url) as agent:
        assert agent.outcome(add(agent)).command.startswith("c-")
    ids = {identifier for request in fake.published() for identifier in request}
    assert len(ids) == 1
    assert len(fake.published()) >= 6


def test_who_gives_up_says_what_is_safe(fake: Fake, monkeypatch: pytest.MonkeyPatch) -> None:
    """After its patience, the receipt raises, and so does the next flush."""
    monkeypatch.setattr(over_http, "_PATIENCE", 0.0)
    fake.script = [refuse(503, "away")] * 4
    with Publisher(fake.url) as agent:
        lost = add(agent, "k")
        with pytest.raises(Away, match=r"503: away.*k, may have been taken all the same"):
            lost.placed()
        with pytest.raises(NotPublished) as error:
            agent.flush()
        assert error.value.receipts == (lost,)


def test_of_a_refused_batch_only_the_wrong_one_is_refused(fake: Fake) -> None:
    """Each is sent alone; the errors say what to do with them."""

    def take(events: list[Any]) -> Answer:
        return 200, fake.item(events[0])

    with Publisher(fake.url) as agent:
        fake.gate.clear()
        add(agent, "k0")
        under_way(agent)
        several = [add(agent, f"k{n}") for n in range(1, 4)]
        fake.script = [
            lambda e: (200, fake.item(e[0])),
            refuse(400),
            lambda e: (200, fake.item(e[0])),
            refuse(403, "why"),
        ]
        fake.gate.set()
        assert isinstance(agent.outcome(several[0]).result, Accepted)
        assert isinstance(agent.outcome(several[2]).result, Accepted)
        with pytest.raises(NotAllowed, match="403: why"):
            agent.outcome(several[1])
        with pytest.raises(NotPublished):
            agent.flush()
    assert fake.published()[1:] == [["k1", "k2", "k3"], ["k1"], ["k2"], ["k3"]]


@pytest.mark.parametrize(("status", "error"), [(400, Invalid), (404, Invalid), (401, NotAllowed), (413, TooLarge)])
def test_a_refusal_is_final(fake: Fake, status: int, error: type[Exception]) -> None:
    """Not sent again: it would be refused again."""
    fake.script = [refuse(status)]
    agent = Publisher(fake.url)
    with pytest.raises(error):
        add(agent).placed()
    with pytest.raises(NotPublished):
        agent.close()
    assert len(fake.published()) == 1


def test_an_outcome_that_came_late_is_asked_for_again(fake: Fake) -> None:
    """202 without one: the receipt is there, and whoever waits sends the command again."""
    fake.script = [lambda e: (202, fake.item(e[0], outcome=False)), lambda e: (202, fake.item(e[0], outcome=False))]

    def known(events: list[Any]) -> Answer:
        fake.placed = 0
        return 200, fake.item(events[0])

    fake.script.append(known)
    with Publisher(fake.url) as agent:
        receipt = add(agent, "k")
        assert receipt.offset == 0
        assert agent.outcome(receipt).position == Position(0, 1)
    assert fake.published() == [["k"]] * 3


def test_nobody_waits_longer_than_he_said(fake: Fake) -> None:
    """A server that does not answer: Late, also before the command was placed."""
    fake.gate.clear()
    with Publisher(fake.url) as agent:
        with pytest.raises(Late):
            agent.outcome(add(agent), 0.05)
        fake.gate.set()


def test_each_command_goes_with_the_credential_that_opens_it(fake: Fake) -> None:
    """The API token for spaces and sessions, the client's token for the rest, fetched once."""
    with Publisher(fake.url, token="api", client_id="me", client_secret="pw") as agent:
        agent.outcome(add(agent))
        agent.outcome(agent.create_space(user="u"))
        agent.outcome(add(agent))
    said = [headers.get("authorization", "") for path, headers, _ in fake.requests if path == "/commands"]
    assert said == ["Bearer t1", "Token api", "Bearer t1"]
    ((_, asked, form),) = [request for request in fake.requests if request[0] == "/oauth/token"]
    assert (asked["authorization"][:6], form) == ("Basic ", "grant_type=client_credentials")


def test_a_token_that_has_run_out_is_fetched_anew(fake: Fake) -> None:
    """401 with a fetched token: once more with a fresh one."""
    fake.script = [refuse(401)]
    with Publisher(fake.url, client_id="me", client_secret="pw") as agent:
        assert isinstance(agent.outcome(add(agent)).result, Accepted)
    assert [path for path, _, _ in fake.requests] == ["/oauth/token", "/commands"] * 2
