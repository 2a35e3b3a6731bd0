"""`mnemolog demo`: a short, real story, told with both official SDKs on a server of its own.

Everything printed is what the server answered; nothing is staged. The folder is removed at the end.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import tempfile
import warnings
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

from mnemolog.domain.errors import Unavailable
from mnemolog.runtime.process import ServerProcess, run, run_json, users_models

_CORPUS = (
    "Trains cross bridges",
    "Clouds block sunlight",
    "Rivers carve valleys",
    "Wolves hunt deer",
    "Engines power ships",
)
_TEXT_WIDTH = 90


def demo() -> int:
    """Tell the whole story on an embedded server; return 0 if every step went as told."""
    sdks = _sdks()
    _prepare_model()
    with tempfile.TemporaryDirectory(prefix="mnemolog-demo-") as folder:
        data = Path(folder) / "data"
        _say("1. One command is the whole service: mnemolog serve --data DIR")
        server = ServerProcess(data).wait_ready()
        _note(f"listening on {server.url}; no other server is needed")
        try:
            _conversation(sdks, server)
            client = _memories(sdks, server)
            server = _kill(server, data, client)
            _erasure(client, data)
        finally:
            server.stop()
    _say("That was all of it. `mnemolog serve` starts your own; the README has both SDKs' snippets.")
    return 0


class Running(NamedTuple):
    """A server that runs already, and the folder of whoever asks it."""

    url: str
    data: Path


def story(server: Running | ServerProcess) -> int:
    """Tell what holds on any runtime on a server that runs; return 0 if every step went as told."""
    sdks = _sdks()
    _say(f"1. A gateway of the distributed runtime: {server.url}")
    _conversation(sdks, server)
    _memories(sdks, server)
    _say("That was all of it.")
    return 0


def _prepare_model() -> None:
    """Have the embedding model exported in a place that outlives the story's folder, so that its servers start fast."""
    if os.environ.get("MNEMOLOG_MODELS"):
        return
    models = users_models()
    try:
        if not models.is_dir():
            _say("0. Preparing the embedding model, once on this machine")
        run("models", "export", "--models", str(models))
    except Unavailable as error:
        _note(str(error))  # the story goes on with PyTorch
        return
    os.environ["MNEMOLOG_MODELS"] = str(models)


class _Sdks(NamedTuple):
    """Both official SDKs."""

    sap: Any
    datarobot: Any
    spaces: Any


def _sdks() -> _Sdks:
    # Both SDKs talk plain HTTP to this machine only; OAuth libraries ask to be told that this is meant.
    os.environ["OAUTHLIB_INSECURE_TRANSPORT"] = "1"
    # What the SDKs warn of (a deprecation of theirs, a strategy that is meant here) is no part of the story.
    warnings.simplefilter("ignore", FutureWarning)
    logging.getLogger("sap_cloud_sdk").setLevel(logging.ERROR)
    try:
        return _Sdks(*map(import_module, ("sap_cloud_sdk.agent_memory", "datarobot", "datarobot.models.memory")))
    except ImportError as error:
        message = f"the demo speaks through both official SDKs, and {error.name} is not installed: `make demo` has both"
        raise Unavailable(message) from error


def _conversation(sdks: _Sdks, server: Running | ServerProcess) -> None:
    datarobot, spaces = sdks.datarobot, sdks.spaces
    _say("2. A conversation, through DataRobot's SDK")
    token = run_json("tokens", "create", "--tenant", "acme", "--user", "ann", "--data", str(server.data))
    datarobot.Client(endpoint=f"{server.url}/api/v2", token=token["token"])
    space = spaces.MemorySpace.create(description="Customer support", llm_model_name="gpt-4o")
    session = spaces.Session.create(memory_space_id=space.id, participants=["ann"], description="Order status inquiry")
    ask = session.post_event(body={"content": "Where is my order?"}, emitter={"type": "user", "id": "ann"})
    answer = session.post_event(body={"content": "Let me check that."}, emitter={"type": "agent", "id": "agent-001"})
    _note(f"events are numbered by the service: {ask.sequence_id}, {answer.sequence_id}")
    seen = answer.created_at
    body = {"content": "It has shipped and arrives within two days."}
    session.update_event(sequence_id=1, body=body, created_at=seen)
    _note("the agent corrected its answer, proving which version it had seen")
    try:
        session.update_event(sequence_id=1, body={"content": "It is lost."}, created_at=seen)
    except datarobot.errors.ClientError as error:
        _note(f"a second writer with the same, now stale, version was refused: {error.json['detail']}")
    for event in session.events(last_n=10):
        _note(f"  [{event.sequence_id}] {event.emitter_type}: {event.body['content']}")


def _memories(sdks: _Sdks, server: Running | ServerProcess) -> Any:
    sap = sdks.sap
    _say("3. Memories, and a search by meaning, through SAP's SDK")
    made = run_json("clients", "create", "--tenant", "acme", "--data", str(server.data))
    config = sap.AgentMemoryConfig(
        base_url=server.url,
        token_url=f"{server.url}/oauth/token",
        client_id=made["id"],
        client_secret=made["secret"],
    )
    client = sap.create_client(config=config, access_strategy=sap.AccessStrategy.PROVIDER)
    for text in _CORPUS:
        client.add_memory(agent_id="geographer", invoker_id="ann", content=text)
    _note(f"kept {client.count_memories(agent_id='geographer', invoker_id='ann')} memories")
    for threshold in (0.6, 0.3):
        found = client.search_memories(
            agent_id="geographer", invoker_id="ann", query="Sky illumination", threshold=threshold
        )
        shown = ", ".join(f"{hit.content!r} ({hit.similarity:.2f})" for hit in found) or "nothing"
        _note(f"search 'Sky illumination' with threshold {threshold}: {shown}")
    _note("the similarity is the model's plain cosine: related texts of few words lie near 0.5, so 0.6, the SDK's")
    _note("default, asks for near-paraphrases with this model; 0.3 is a fitting start for it")
    return client


def _kill(server: ServerProcess, data: Path, client: Any) -> ServerProcess:
    _say("4. kill -9, and start again")
    port = int(server.url.rsplit(":", 1)[1])
    server.kill()
    again = ServerProcess(data, port=port).wait_ready()
    count = client.count_memories(agent_id="geographer", invoker_id="ann")
    _note(f"all {count} memories are there: what was acknowledged was on disk")
    return again


def _erasure(client: Any, data: Path) -> None:
    _say("5. Deleting a memory erases it; the log shows that it was there, and no longer what it said")
    (wolf,) = client.list_memories(
        agent_id="geographer",
        invoker_id="ann",
        filters=[import_module("sap_cloud_sdk.agent_memory").FilterDefinition(target="content", contains="Wolves")],
    )
    client.delete_memory(wolf.id)
    _note("the log of facts, newest last:")
    for line in run("log", "show", "--last", "6", "--json", "--data", str(data)).splitlines():
        _note(f"  {_shown(json.loads(line))}")
    _note("of the erased fact its place, its link in the hash chain and its null record are left, and no word of it")


def _shown(record: dict[str, Any]) -> str:
    """Return a fact as a line: its place, what happened, who did it, and as much of what it says as fits."""
    if record["value"] is None:
        return f"{record['offset']:>3}  null record: the fact {record['key'][-38:]} is gone"
    headers = record["headers"]
    said = json.dumps(record["value"]["body"], ensure_ascii=False)
    cut = said if len(said) <= _TEXT_WIDTH else said[: _TEXT_WIDTH - 1] + "…"
    return f"{record['offset']:>3}  {headers['ce_type']:<25} by {headers['actor']}  {cut}"


def _say(text: str) -> None:
    sys.stdout.write(f"\n{text}\n")
    sys.stdout.flush()


def _note(text: str) -> None:
    sys.stdout.write(f"   {text}\n")
    sys.stdout.flush()
