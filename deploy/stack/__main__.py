"""`make stack`: Kafka, Redis, two workers and a gateway on this machine, without Docker, until interrupted.

`make demo-stack` starts the same in a folder that goes with it, tells the demo's story on it, and stops.
"""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from deploy.stack.kafka import Broker, CannotStart
from deploy.stack.redis import Redis
from mnemolog.runtime.process import ServerProcess, run

_WORKERS = 2
_PARTITIONS = 4
_MNEMOLOG = [sys.executable, "-m", "mnemolog.runtime.cli"]


@contextmanager
def stack(folder: Path, port: int) -> Iterator[ServerProcess]:
    """Start everything, and stop it in turn; logs and data lie in the folder. Raises CannotStart."""
    with ExitStack() as stopping:
        broker = Broker(folder / "kafka")
        (folder / "kafka").mkdir(parents=True, exist_ok=True)
        broker.start()
        stopping.callback(broker.stop)
        redis = Redis(folder / "redis")
        redis.start()
        stopping.callback(redis.stop)
        os.environ |= {
            "MNEMOLOG_RUNTIME": "kafka",
            "MNEMOLOG_KAFKA": broker.servers,
            "MNEMOLOG_PARTITIONS": str(_PARTITIONS),
            "MNEMOLOG_REDIS": redis.url,
            "MNEMOLOG_MODELS": os.environ.get("MNEMOLOG_MODELS") or str(folder / "models"),  # exported once for all
            "MNEMOLOG_TOKEN_KEY": secrets.token_hex(32),
        }
        run("topics", "create")
        for number in range(_WORKERS):
            stopping.callback(_ended, _worker(folder, number))
        server = ServerProcess(folder / "gateway", port=port)
        stopping.callback(server.stop)
        yield server.wait_ready()


def _worker(folder: Path, number: int) -> subprocess.Popen[bytes]:
    with (folder / f"worker-{number}.log").open("ab") as log:
        command = [*_MNEMOLOG, "worker", "all", "--data", str(folder / f"worker-{number}")]
        return subprocess.Popen(command, stdout=log, stderr=log)


def _ended(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    process.wait()


def main(arguments: list[str]) -> int:
    """Run the stack in a folder (default `.stack/data`), or with `demo` tell the story on one that goes with it."""
    try:
        if arguments == ["demo"]:
            with tempfile.TemporaryDirectory(prefix="mnemolog-stack-") as made, stack(Path(made), 0) as server:
                return tell(server)
        folder = Path(arguments[0] if arguments else ".stack/data").resolve()
        folder.mkdir(parents=True, exist_ok=True)
        with stack(folder, 8080) as server:
            say(server, folder)
            signal.sigwait({signal.SIGINT, signal.SIGTERM})
    except CannotStart as error:
        sys.stderr.write(f"the stack cannot start: {error}\n")
        return 1
    return 0


def tell(server: ServerProcess) -> int:
    """Tell the demo's story on a running stack."""
    from mnemolog.runtime.demo import story

    return story(server)


def say(server: ServerProcess, folder: Path) -> None:
    """Say what runs and how to use it from another shell."""
    sys.stdout.write(f"mnemolog on Kafka and Redis serves {server.url}; data and logs are in {folder}\n")
    sys.stdout.write("in another shell, for `mnemolog clients`, `tokens` and the like:\n")
    for name in sorted(name for name in os.environ if name.startswith("MNEMOLOG_")):
        sys.stdout.write(f"  export {name}='{os.environ[name]}'\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
