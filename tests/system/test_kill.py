"""A real server, a real folder, real signals: what has been acknowledged survives `kill -9`, once (guarantee 9).

The servers embed by hashing, so that a start takes a second; nothing else is different from production.
"""

from __future__ import annotations

import asyncio
import http.client
import itertools
import json
import os
import random
import re
import shutil
import subprocess
import sys
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote, urlencode, urlsplit

import pytest

from mnemolog.runtime.folder import Folder
from mnemolog.runtime.process import ServerProcess, run, run_json
from projections.store_sqlite import SqliteStore
from tests.simulation import invariants

pytestmark = pytest.mark.system

BROKEN = (http.client.HTTPException, OSError)
COMMAND = [sys.executable, "-m", "mnemolog.runtime.cli"]


class Answer(NamedTuple):
    """What the server said."""

    status: int
    body: Any


class Client:
    """One connection at a time to a server that may be away, and a new one to each that is started."""

    def __init__(self, serving: Serving, authorization: str) -> None:
        """Take whose client it is, and the header that lets in."""
        self._serving = serving
        self._start = serving.starts
        self.authorization = authorization
        self._connection: http.client.HTTPConnection | None = None

    def __call__(self, method: str, path: str, body: Any = None, key: str | None = None) -> Answer:
        """Send a request. Raises one of `BROKEN` if no answer comes; the server may have done it all the same."""
        headers = {"Authorization": self.authorization} | ({"Idempotency-Key": key} if key else {})
        if self._start != self._serving.starts:
            self.close()
            self._start = self._serving.starts
        connection = self._connection or self._serving.connect()
        self._connection = None
        try:
            connection.request(method, path, None if body is None else json.dumps(body), headers)
            answer = connection.getresponse()
            raw = answer.read()
        except BaseException:
            connection.close()
            raise
        self._connection = connection
        return Answer(answer.status, json.loads(raw) if raw else None)

    def close(self) -> None:
        """Hang up."""
        if self._connection:
            self._connection.close()
            self._connection = None


@dataclass
class Serving:
    """A data folder and the server on it, which comes and goes, always at the same address."""

    folder: Path
    data: Path = field(init=False)
    process: ServerProcess = field(init=False)
    url: str = ""
    starts: int = 0
    clients: list[Client] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Start the first time."""
        self.data = self.folder / "data"
        self.start()

    def start(self) -> None:
        """Start the server; it takes writes and reads from now on."""
        port = urlsplit(self.url).port or 0 if self.url else 0
        self.process = ServerProcess(self.data, port=port)
        self.url = self.process.url
        self.starts += 1

    def connect(self) -> http.client.HTTPConnection:
        """Return a new connection."""
        return http.client.HTTPConnection(urlsplit(self.url).netloc, timeout=20)

    def crash(self) -> None:
        """Kill -9, and start again."""
        self.process.kill()
        self.start()

    def operate(self, *arguments: str) -> Any:
        """Run a command of the operator's on the folder."""
        return run_json(*arguments, "--data", str(self.data))

    def datarobot(self, tenant: str = "acme", user: str = "ann") -> Client:
        """Return a client of `/api/v2`."""
        made = self.operate("tokens", "create", "--tenant", tenant, "--user", user)
        return self.client(f"Token {made['token']}")

    def sap(self, tenant: str = "acme") -> Client:
        """Return a client of `/v1`."""
        made = self.operate("clients", "create", "--tenant", tenant)
        return self.client(f"Bearer {self.access(made)}")

    def again(self, client: Client) -> Client:
        """Return another connection of the same caller."""
        return self.client(client.authorization)

    def client(self, authorization: str) -> Client:
        """Return a client that says this."""
        self.clients.append(Client(self, authorization))
        return self.clients[-1]

    def access(self, made: dict[str, str]) -> str:
        """Return an access token for a client's credentials."""
        connection = self.connect()
        form = {"grant_type": "client_credentials", "client_id": made["id"], "client_secret": made["secret"]}
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        connection.request("POST", "/oauth/token", urlencode(form), headers)
        token = json.loads(connection.getresponse().read())["access_token"]
        connection.close()
        return str(token)

    def log(self) -> str:
        """Return what all servers on this folder have logged."""
        return (self.folder / "server.log").read_text()

    def replayed(self) -> int:
        """Return how many records the last start has replayed."""
        return int(re.findall(r"replayed (\d+) facts", self.log())[-1])


@pytest.fixture
def serving(tmp_path: Path) -> Iterator[Serving]:
    """Return a server on a fresh folder, to be killed and stopped at will."""
    yield from _served(tmp_path)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    """Return a server for the tests that leave it alone."""
    yield from _served(tmp_path_factory.mktemp("shared"))


def _served(folder: Path) -> Iterator[Serving]:
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("MNEMOLOG_")]:
            patch.delenv(name)
        patch.setenv("MNEMOLOG_MODEL", "hashing")
        made = Serving(folder)
        yield made
        for client in made.clients:
            client.close()
        with suppress(ValueError):  # a test may have stopped it itself
            made.process.stop()


def stopped(serving: Serving) -> int:
    """Stop the server as an operator does; return its exit code."""
    for client in serving.clients:
        client.close()
    return serving.process.stop()


def space_and_session(api: Client) -> str:
    """Open a space and a session; return the session's path."""
    space = api("POST", "/api/v2/memory/new/", {}).body["memorySpaceId"]
    session = api("POST", f"/api/v2/memory/{space}/sessions/", {"participants": ["ann"], "lifecycleStrategies": []})
    return f"/api/v2/memory/{space}/sessions/{session.body['id']}/"


def event(content: str) -> dict[str, Any]:
    """Return an event."""
    return {"body": {"content": content}, "emitter": {"type": "user", "id": "ann"}}


def events(api: Client, session: str) -> list[tuple[int, str]]:
    """Return all events of a session."""
    found: list[tuple[int, str]] = []
    while True:
        page = api("GET", f"{session}events/?offset={len(found)}&limit=100").body
        found += [(item["sequenceId"], item["body"]["content"]) for item in page["items"]]
        if len(page["items"]) < 100:
            assert page["total"] == len(found)
            return found


def memory(content: str, invoker: str = "ann") -> dict[str, Any]:
    """Return a memory."""
    return {"agentID": "bot", "invokerID": invoker, "content": content}


def memories(api: Client, invoker: str = "ann") -> dict[str, str]:
    """Return all memories of an owner."""
    owned = quote(f"agentID eq 'bot' and invokerID eq '{invoker}'")
    page = api("GET", f"/v1/memories?$filter={owned}&$top=1000000&$count=true").body
    assert page["@odata.count"] == len(page["value"])
    return {item["id"]: item["content"] for item in page["value"]}


def found(api: Client, query: str, invoker: str = "ann") -> list[str]:
    """Search; return the contents found."""
    wanted = {"agentID": "bot", "invokerID": invoker, "query": query, "threshold": 0.0, "top": 50}
    answer = eventually(lambda: api("POST", "/v1/memories/search", wanted), lambda got: got.status != 503)
    assert answer.status == 200, answer
    return [item["content"] for item in answer.body["value"]]


def eventually(ask: Callable[[], Any], good: Callable[[Any], bool], seconds: float = 10) -> Any:
    """Ask until the answer is good; return the last one."""
    deadline = time.monotonic() + seconds
    while not good(answer := ask()) and time.monotonic() < deadline:
        time.sleep(0.05)
    return answer


def in_files(data: Path, text: bytes) -> list[str]:
    """Return the files of a folder that hold these bytes."""
    return [str(p.relative_to(data)) for p in data.rglob("*") if p.is_file() and text in p.read_bytes()]


def check_folder(data: Path) -> None:
    """Expect of a stopped server's folder that its log is sound and its views are what the log says."""

    async def checked() -> None:
        folder = Folder(data)
        log = folder.log()
        store = SqliteStore(folder.connection)
        records = await invariants.read(log)
        invariants.sound(records, whole=not any(r.value is None for r in records))
        rows, places = invariants.dump(await invariants.rebuilt(log))
        live = invariants.dump(store)
        assert live[0] == rows
        assert live[1] == places
        reached = await store.checkpoint(0)
        assert reached is not None
        assert reached.offset == await log.end(0)
        await store.close()
        await log.close()

    asyncio.run(checked())


# ---- kills under load ------------------------------------------------------------------------------------------------


@dataclass
class Load:
    """Writers on threads, and what was acknowledged to them: (session, sequence id) and memory id → content."""

    stop: threading.Event = field(default_factory=threading.Event)
    events: dict[str, dict[int, str]] = field(default_factory=lambda: defaultdict(dict))
    memories: dict[str, str] = field(default_factory=dict)
    sure: list[str] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    threads: list[threading.Thread] = field(default_factory=list)

    def run(self, write: Callable[[str], bool], name: str, *, keyed: bool) -> None:
        """Write texts until told to stop; with `keyed`, repeat each with its key until it is acknowledged."""

        def loop() -> None:
            for n in itertools.count():
                text = f"{name} {n}"
                while not self.stop.is_set():
                    try:
                        if write(text):
                            if keyed:
                                self.sure.append(text)
                            break
                    except BROKEN:
                        time.sleep(0.02)
                        if not keyed:
                            break
                if self.stop.is_set():
                    return

        self.threads.append(threading.Thread(target=self._guarded, args=[loop]))
        self.threads[-1].start()

    def _guarded(self, loop: Callable[[], None]) -> None:
        try:
            loop()
        except Exception as error:  # noqa: BLE001 -- the test reports it
            self.failures.append(repr(error))

    def count(self) -> int:
        """Return how many acknowledgements there were."""
        return len(self.memories) + sum(len(known) for known in list(self.events.values()))

    def goes_on(self, more: int) -> None:
        """Wait until so many more writes have been acknowledged, on however slow a machine."""
        goal = self.count() + more
        assert eventually(self.count, lambda count: count >= goal, 30) >= goal, self.failures

    def end(self) -> None:
        """Stop all writers."""
        self.stop.set()
        for thread in self.threads:
            thread.join()
        assert self.failures == []

    def acknowledged(self, answer: Answer, status: int) -> bool:
        """Tell whether an answer acknowledges; one that says the server is stopping does not."""
        if answer.status in {500, 503, 504}:
            return False
        assert answer.status == status, answer
        return True

    def append(self, api: Client, session: str, *, keyed: bool) -> Callable[[str], bool]:
        """Return a writer of single events."""

        def write(text: str) -> bool:
            answer = api("POST", f"{session}events/", event(text), key=text if keyed else None)
            if self.acknowledged(answer, 201):
                assert self.events[session].setdefault(answer.body["sequenceId"], text) == text
                return True
            return False

        return write

    def batches(self, api: Client, session: str) -> Callable[[str], bool]:
        """Return a writer of three events at once."""

        def write(text: str) -> bool:
            said = [event(f"{text} part {n}") for n in range(3)]
            answer = api("POST", f"{session}events/batch/", {"events": said}, key=text)
            if self.acknowledged(answer, 201):
                for item in answer.body["items"]:
                    self.events[session][item["sequenceId"]] = item["body"]["content"]
                return True
            return False

        return write

    def remember(self, api: Client, *, keyed: bool) -> Callable[[str], bool]:
        """Return a writer of memories, who reads each one back at once (guarantee 5)."""

        def write(text: str) -> bool:
            answer = api("POST", "/v1/memories", memory(text), key=text if keyed else None)
            if not self.acknowledged(answer, 201):
                return False
            self.memories[answer.body["id"]] = text
            with suppress(*BROKEN):
                got = api("GET", f"/v1/memories({answer.body['id']})")
                assert got.status == 503 or got.body["content"] == text, got
            return True

        return write


def test_guarantee_9_ten_kills_under_load_lose_nothing_acknowledged_and_double_nothing(serving: Serving) -> None:
    """Each acknowledged event and memory is there once, under its number, and what was repeated with its key is too.

    Sequence ids are gapless, batches whole; log and views are sound.
    """
    api, keeper = serving.datarobot(), serving.sap()
    sessions = [space_and_session(api) for _ in range(3)]
    load = Load()
    load.run(load.append(serving.again(api), sessions[0], keyed=False), "loose", keyed=False)
    load.run(load.append(serving.again(api), sessions[0], keyed=True), "keyed", keyed=True)
    load.run(load.append(serving.again(api), sessions[1], keyed=True), "alone", keyed=True)
    load.run(load.batches(serving.again(api), sessions[2]), "batch", keyed=True)
    load.run(load.remember(serving.again(keeper), keyed=False), "memory", keyed=False)
    load.run(load.remember(serving.again(keeper), keyed=True), "sure memory", keyed=True)
    dice = random.Random(9)
    try:
        for _ in range(10):
            load.goes_on(10)
            time.sleep(dice.uniform(0, 0.3))
            serving.crash()
        load.goes_on(10)
    finally:
        load.end()
    in_sessions = {session: events(api, session) for session in sessions}
    for session, there in in_sessions.items():
        assert [n for n, _ in there] == list(range(len(there)))
        assert load.events[session].items() <= dict(there).items()
        doubled = [text for text, count in Counter(text for _, text in there).items() if count > 1]
        assert doubled == []
    parts = [text for _, text in in_sessions[sessions[2]]]
    assert all(text.endswith(f"part {n % 3}") for n, text in enumerate(parts))
    kept = memories(keeper)
    assert load.memories.items() <= kept.items()
    assert [text for text, count in Counter(kept.values()).items() if count > 1] == []
    everything = {text for listed in in_sessions.values() for _, text in listed} | set(kept.values())
    assert [text for text in load.sure if text not in everything and f"{text} part 0" not in everything] == []
    assert load.count() > 100
    assert set(found(keeper, "memory 3")) <= set(kept.values())
    assert stopped(serving) == 0
    check_folder(serving.data)


def test_guarantee_4_writers_of_one_session_lose_nothing_and_one_of_eight_updates_wins(shared: Serving) -> None:
    """8 writers of 25 events keep 200 of 200, numbered 0 to 199; of eight updates with one token one is accepted."""
    api = shared.datarobot()
    session = space_and_session(api)
    acknowledged: list[tuple[int, str]] = []
    statuses: list[int] = []

    def append(writer: int) -> None:
        mine = shared.again(api)
        for n in range(25):
            answer = mine("POST", f"{session}events/", event(f"{writer}/{n}"))
            acknowledged.append((answer.body["sequenceId"], f"{writer}/{n}"))

    def update(writer: int) -> None:
        change = {"sequenceId": 7, "body": {"content": f"update {writer}"}, "createdAt": token}
        statuses.append(shared.again(api)("PATCH", f"{session}events/batch/", {"events": [change]}).status)

    together(append)
    assert sorted(acknowledged) == events(api, session)
    assert [n for n, _ in sorted(acknowledged)] == list(range(200))
    token = api("GET", f"{session}events/?offset=7&limit=1").body["items"][0]["createdAt"]
    together(update)
    assert sorted(statuses) == [200] + [422] * 7
    assert events(api, session)[7][1].startswith("update ")


def together(work: Callable[[int], None]) -> None:
    """Run eight workers at once."""
    threads = [threading.Thread(target=work, args=[n]) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def test_guarantee_5_what_a_write_has_answered_every_read_list_count_and_search_sees(shared: Serving) -> None:
    """Eight callers, each with an owner of his own, read at once what they have just written."""
    shared.process.wait_ready()
    api, keeper = shared.datarobot(), shared.sap()
    session = space_and_session(api)
    seen: list[int] = []

    def work(writer: int) -> None:
        mine, rest = shared.again(keeper), shared.again(api)
        for n in range(5):
            text = f"writer {writer} number {n}"
            identifier = mine("POST", "/v1/memories", memory(text, f"i{writer}")).body["id"]
            assert mine("GET", f"/v1/memories({identifier})").body["content"] == text
            listed = memories(mine, f"i{writer}")
            assert len(listed) == n + 1
            assert listed[identifier] == text
            assert text in found(mine, text, f"i{writer}")
            sequence = rest("POST", f"{session}events/", event(text)).body["sequenceId"]
            (last,) = rest("GET", f"{session}events/?offset={sequence}&limit=1").body["items"]
            assert last["body"]["content"] == text
        seen.append(writer)

    together(work)
    assert sorted(seen) == list(range(8))


# ---- erasure ---------------------------------------------------------------------------------------------------------


def test_what_was_erased_stays_erased_whatever_is_killed_after_the_answer(serving: Serving) -> None:
    """By no read, list, search or `log show`, and in no file: at once after the next start, and after a clean stop."""
    keeper = serving.sap()
    secret = "zebra crossing number 4711"
    identifier = keeper("POST", "/v1/memories", memory(secret)).body["id"]
    keeper("PATCH", f"/v1/memories({identifier})", {"metadata": {"note": "zebra metadata"}})
    keeper("POST", "/v1/memories", memory("an innocent bystander"))
    assert secret in found(keeper, secret)
    assert keeper("DELETE", f"/v1/memories({identifier})").status == 204
    serving.crash()
    assert keeper("GET", f"/v1/memories({identifier})").status == 404
    assert set(memories(keeper).values()) == {"an innocent bystander"}
    assert found(keeper, secret) == ["an innocent bystander"]
    assert eventually(lambda: in_files(serving.data, b"zebra"), lambda held: held == []) == []
    shown = run("log", "show", identifier, "--data", str(serving.data))
    assert "zebra" not in shown
    assert "erased" in shown
    assert stopped(serving) == 0
    assert in_files(serving.data, b"zebra") == []
    assert in_files(serving.data, b"innocent") != []
    check_folder(serving.data)


def test_the_erasure_of_a_memory_too_large_for_one_command_goes_on_after_a_kill(serving: Serving) -> None:
    """Hidden at once, taken in ranges: a kill between them delays the rest, and nothing of it comes back."""
    keeper = serving.sap()
    identifier = keeper("POST", "/v1/memories", memory("giraffe 0")).body["id"]

    def update(writer: int) -> None:
        mine = serving.again(keeper)
        for n in range(65):
            assert mine("PATCH", f"/v1/memories({identifier})", {"content": f"giraffe {writer} {n}"}).status < 300

    together(update)
    assert keeper("DELETE", f"/v1/memories({identifier})").status == 204
    serving.process.kill()
    serving.start()
    assert keeper("GET", f"/v1/memories({identifier})").status == 404
    assert memories(keeper) == {}
    assert found(keeper, "giraffe") == []
    assert eventually(lambda: in_files(serving.data, b"giraffe"), lambda held: held == []) == []
    assert stopped(serving) == 0
    check_folder(serving.data)


# ---- starting and stopping -------------------------------------------------------------------------------------------


def test_a_second_server_on_the_same_folder_is_refused(shared: Serving) -> None:
    """With exit code 1 and one line that says what to do; the first goes on."""
    second = [*COMMAND, "serve", "--data", str(shared.data), "--port", "0"]
    refused = subprocess.run(second, capture_output=True, text=True, check=False, timeout=60)
    assert refused.returncode == 1
    assert refused.stdout == ""
    (line,) = refused.stderr.splitlines()
    assert f"another mnemolog server runs on the data folder {shared.data}" in line
    assert "--data" in line
    assert space_and_session(shared.datarobot())


def test_a_port_that_is_taken_is_refused_and_leaves_the_folder_free(shared: Serving) -> None:
    """The message names the port; the folder can be served on another one."""
    taken = [*COMMAND, "serve", "--data", str(shared.folder / "other"), "--port", str(urlsplit(shared.url).port)]
    refused = subprocess.run(taken, capture_output=True, text=True, check=False, timeout=60)
    assert refused.returncode == 1
    assert f":{urlsplit(shared.url).port}" in refused.stderr
    assert "--port" in refused.stderr
    assert "Traceback" not in refused.stderr
    other = ServerProcess(shared.folder / "other")
    assert other.stop() == 0


def test_the_operators_commands_beside_a_running_server_take_effect_at_once(shared: Serving) -> None:
    """Credentials let in with the next request and shut out as soon; `log show` sees what was just written."""
    token = shared.operate("tokens", "create", "--tenant", "acme", "--user", "ann")
    api = shared.client(f"Token {token['token']}")
    session = space_and_session(api)
    assert api("POST", f"{session}events/", event("seen in the log")).status == 201
    assert "seen in the log" in run("log", "show", "--data", str(shared.data))
    made = shared.operate("clients", "create", "--tenant", "acme", "--id", "planner")
    keeper = shared.client(f"Bearer {shared.access(made)}")
    assert keeper("POST", "/v1/memories", memory("likes tea")).status == 201
    assert "planner" in {row["id"] for row in shared.operate("clients", "list")}
    shared.operate("tokens", "revoke", token["id"])
    shared.operate("clients", "revoke", "planner")
    assert api("GET", "/api/v2/memory/").status == 401
    assert keeper("GET", "/v1/memories").status == 401


def test_the_operators_commands_work_without_a_server_too(serving: Serving) -> None:
    """What was created while none ran lets in when one runs again."""
    assert serving.process.stop() == 0
    token = serving.operate("tokens", "create", "--tenant", "acme", "--user", "ann")
    serving.start()
    api = serving.client(f"Token {token['token']}")
    assert api("GET", "/api/v2/memory/").body["total"] == 0


def test_sigterm_stops_cleanly_within_three_seconds_under_load(serving: Serving) -> None:
    """Exit code 0, the write-ahead log folded in, and nothing lost of what was acknowledged until then."""
    api, keeper = serving.datarobot(), serving.sap()
    session = space_and_session(api)
    load = Load()
    load.run(load.append(serving.again(api), session, keyed=True), "event", keyed=True)
    load.run(load.remember(serving.again(keeper), keyed=True), "memory", keyed=True)
    time.sleep(0.5)
    began = time.monotonic()
    try:
        assert serving.process.stop() == 0
        assert time.monotonic() - began < 3
    finally:
        load.end()
    assert not (serving.data / "mnemolog.db-wal").exists()
    serving.start()
    assert load.events[session].items() <= dict(events(api, session)).items()
    assert load.memories.items() <= memories(keeper).items()
    assert "Traceback" not in serving.log()


def test_a_start_reads_only_the_tail(serving: Serving) -> None:
    """After a clean stop nothing, after a kill no more than came since the state was last saved."""
    api = serving.datarobot()
    session = space_and_session(api)
    for n in range(5):
        many = {"events": [event(f"{n}/{m}") for m in range(200)]}
        assert api("POST", f"{session}events/batch/", many).status == 201
    api.close()
    assert serving.process.stop() == 0
    serving.start()
    assert serving.replayed() == 0
    time.sleep(0.3)
    assert api("POST", f"{session}events/", event("the tail")).status == 201
    serving.crash()
    assert serving.replayed() <= 1
    assert events(api, session)[-1] == (1_000, "the tail")


def test_a_vector_index_that_was_lost_is_filled_again(serving: Serving) -> None:
    """Its folder deleted between two runs: search finds the same, and what has come since."""
    keeper = serving.sap()
    for text in ("red apples", "green apples", "blue plums"):
        assert keeper("POST", "/v1/memories", memory(text)).status == 201
    before = found(keeper, "green apples")
    assert before[0] == "green apples"
    keeper.close()
    assert serving.process.stop() == 0
    shutil.rmtree(serving.data / "vectors")
    serving.start()
    assert found(keeper, "green apples") == before
    assert keeper("POST", "/v1/memories", memory("yellow apples")).status == 201
    assert found(keeper, "yellow apples")[0] == "yellow apples"
