"""`python -m bench.load`: agents on a server, and what it did: latencies, errors, memory; with a plot.

Without `--url`, a server is started for it: embedded, or with `--runtime kafka` the whole stack of `make stack`. The
exit code is 1 if there was an error, or a process whose last quarter holds more than 5 % more memory than its second.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import json
import os
import random
import sys
import tempfile
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager
from pathlib import Path

from bench.__main__ import machine
from bench.load.agents import Agent
from bench.load.memory import resident
from bench.load.report import Heard, text, wrong
from bench.load.wire import Connection
from mnemolog.runtime.process import ServerProcess, run, run_json

_LOOK = 5.0
_TENANT = "load"


def main() -> int:
    """Run the load and write its report; return the exit code."""
    options = _options()
    if options.model:
        os.environ["MNEMOLOG_MODEL"] = options.model
    heard = Heard()
    with _server(options) as (url, bearer, token):
        seconds = asyncio.run(_lived(url, bearer, token, options, heard))
    figures = heard.figures(seconds)
    what = f"{options.runtime}, {options.agents} agents, {options.rate:g} requests/s wished for"
    figures = {"machine": machine(), "what": what, "model": options.model or "the packaged one"} | figures
    sys.stdout.write(f"{what}\n{text(figures)}")
    if options.report:
        options.report.with_suffix(".json").write_text(json.dumps(figures, indent=2) + "\n")
        title = f"{what}: {figures['requests per second']}/s, {figures['errors']} errors"
        options.report.with_suffix(".svg").write_text(heard.picture(seconds, title))
    said = wrong(figures)
    sys.stdout.writelines(f"WRONG: {line}\n" for line in said)
    return 1 if said else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.load", description=__doc__)
    parser.add_argument("--minutes", type=float, default=1.0, help="how long (a soak: 20)")
    parser.add_argument("--rate", type=float, default=30.0, help="requests a second that the agents aim at")
    parser.add_argument("--agents", type=int, default=20, help="how many agents")
    parser.add_argument("--runtime", choices=["embedded", "kafka"], default="embedded", help="what to start")
    parser.add_argument("--model", default="", help="the embedding model of what is started; hashing costs nothing")
    parser.add_argument("--url", help="a server that runs already")
    parser.add_argument("--client", help="its SAP client, as id:secret")
    parser.add_argument("--token", help="its API token")
    parser.add_argument("--report", type=Path, help="write figures (.json) and a plot (.svg) under this name")
    parser.add_argument("--seed", type=int, default=1, help="what the agents' dice start from")
    return parser.parse_args()


@contextmanager
def _server(options: argparse.Namespace) -> Iterator[tuple[str, str, str]]:
    """Give a server's address, an access token and an API token."""
    if options.url:
        identifier, _, secret = options.client.partition(":")
        yield options.url, _bearer(options.url, identifier, secret), options.token
        return
    with tempfile.TemporaryDirectory(prefix="mnemolog-load-") as name:
        folder = Path(name)
        if os.environ.get("MNEMOLOG_MODEL") != "hashing":
            # A server's first start makes the export beside PyTorch, which then stays in its memory: not what is asked.
            os.environ["MNEMOLOG_MODELS"] = str(folder / "models")
            run("models", "export", "--data", str(folder / "data"))
        if options.runtime == "kafka":
            from deploy.stack.__main__ import stack

            with stack(folder, 0) as server:
                yield server.url, *_credentials(server.url)
            return
        server = ServerProcess(folder / "data").wait_ready(600)
        try:
            yield server.url, *_credentials(server.url, "--data", str(server.data))
        finally:
            server.stop()


def _credentials(url: str, *where: str) -> tuple[str, str]:
    client = run_json("clients", "create", "--tenant", _TENANT, *where)
    token = run_json("tokens", "create", "--tenant", _TENANT, "--user", "load", *where)
    return _bearer(url, client["id"], client["secret"]), token["token"]


def _bearer(url: str, identifier: str, secret: str) -> str:
    basic = base64.b64encode(f"{identifier}:{secret}".encode()).decode()
    request = urllib.request.Request(  # noqa: S310 -- the address that the caller named
        f"{url}/oauth/token",
        urllib.parse.urlencode({"grant_type": "client_credentials"}).encode(),
        {"Authorization": f"Basic {basic}"},
    )
    with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310 -- the same
        found: str = json.loads(answer.read())["access_token"]
    return found


async def _lived(url: str, bearer: str, token: str, options: argparse.Namespace, heard: Heard) -> float:
    stopping = asyncio.Event()
    begun = time.perf_counter()

    def told(kind: str, seconds: float, wrong_: str) -> None:
        if wrong_:
            heard.errors.append(f"{kind}: {wrong_}")
        heard.requests.append((time.perf_counter() - begun, kind, seconds))

    async with AsyncExitStack() as closing, asyncio.TaskGroup() as group:
        for number in range(options.agents):
            sap = await closing.enter_async_context(Connection(url, {"Authorization": f"Bearer {bearer}"}))
            robot = await closing.enter_async_context(Connection(url, {"Authorization": f"Token {token}"}))
            dice = random.Random(f"{options.seed} {number}")
            agent = Agent(f"{number}", sap, robot, dice)
            group.create_task(agent.live(options.agents / options.rate, stopping, told))
        while (left := options.minutes * 60 - (time.perf_counter() - begun)) > 0:
            await asyncio.sleep(min(_LOOK, left))
            heard.memory.append((time.perf_counter() - begun, resident(os.getpid())))
        stopping.set()
    return time.perf_counter() - begun


if __name__ == "__main__":
    sys.exit(main())
