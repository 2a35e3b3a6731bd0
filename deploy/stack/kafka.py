"""A Kafka of one node, without Docker: a JVM process on a folder, for tests and the local stack.

1. The jars come once, by Maven, from the `pom.xml` beside this file.
2. A folder is formatted once; started again on it, the broker has everything that it had.
3. `start` returns when the broker answers; what it says goes to `kafka.log` in its folder.
4. With a `Login`, whoever connects needs TLS and a password, the broker itself included.
"""

from __future__ import annotations

import base64
import contextlib
import os
import shutil
import socket
import ssl
import struct
import subprocess
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

_HERE = Path(__file__).parent
LIBRARIES = _HERE.parents[1] / ".stack" / "kafka-libs"
_JARS = 46
_MEMORY = ("-Xmx384m", "-XX:+UseSerialGC")
_WAIT = 90.0
_HOST = "127.0.0.1"
_SETTINGS = {
    "process.roles": "broker,controller",
    "node.id": "1",
    "listener.security.protocol.map": "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,SASL_SSL:SASL_SSL",
    "controller.listener.names": "CONTROLLER",
    "auto.create.topics.enable": "false",
    "broker.heartbeat.interval.ms": "500",
    "broker.session.timeout.ms": "2000",  # a killed broker's successor waits until this has passed
    "offsets.topic.replication.factor": "1",
    "offsets.topic.num.partitions": "4",
    "transaction.state.log.replication.factor": "1",
    "transaction.state.log.min.isr": "1",
    "transaction.state.log.num.partitions": "4",
    "group.initial.rebalance.delay.ms": "0",
    "num.network.threads": "2",
    "num.io.threads": "4",
    "log.cleaner.dedupe.buffer.size": "16777216",
}
_LOG4J = """\
status = WARN
appender.out.type = Console
appender.out.name = out
appender.out.layout.type = PatternLayout
appender.out.layout.pattern = %d %p %c{1}: %m%n
rootLogger.level = WARN
rootLogger.appenderRef.out.ref = out
"""


class CannotStart(Exception):
    """The broker cannot be had on this machine; the text says why."""


@dataclass(frozen=True, slots=True)
class Login:
    """Who may connect: users with their passwords, by PLAIN and SCRAM. Files are PEM; `ca` vouches for clients."""

    certificate: Path
    """The broker's certificates and their key, in one file."""
    ca: Path
    users: Mapping[str, str]
    client_certificates: str = "requested"

    @property
    def settings(self) -> Mapping[str, str]:
        """The broker's settings; it logs in to itself as its first user."""
        name, password = next(iter(self.users.items()))
        users = " ".join(f'user_{user}="{secret}"' for user, secret in self.users.items())
        module = "org.apache.kafka.common.security"
        scram = f"{module}.scram.ScramLoginModule required;"
        return {
            "inter.broker.listener.name": "SASL_SSL",
            "sasl.mechanism.inter.broker.protocol": "PLAIN",
            "sasl.enabled.mechanisms": "PLAIN,SCRAM-SHA-256,SCRAM-SHA-512",
            "listener.name.sasl_ssl.plain.sasl.jaas.config": (
                f'{module}.plain.PlainLoginModule required username="{name}" password="{password}" {users};'
            ),
            "listener.name.sasl_ssl.scram-sha-256.sasl.jaas.config": scram,
            "listener.name.sasl_ssl.scram-sha-512.sasl.jaas.config": scram,
            "ssl.keystore.type": "PEM",
            "ssl.keystore.location": str(self.certificate),
            "ssl.truststore.type": "PEM",
            "ssl.truststore.location": str(self.ca),
            "ssl.client.auth": self.client_certificates,
        }

    @property
    def scram(self) -> Sequence[str]:
        """What the folder is formatted with."""
        return [
            argument
            for mechanism in ("SCRAM-SHA-256", "SCRAM-SHA-512")
            for name, password in self.users.items()
            for argument in ("--add-scram", f"{mechanism}=[name={name},password={password}]")
        ]


def libraries(folder: Path = LIBRARIES) -> Path:
    """Return the folder of the jars, fetching them if they are not there. Raises CannotStart."""
    if len(list(folder.glob("*.jar"))) >= _JARS:
        return folder
    maven = shutil.which("mvn")
    if maven is None:
        message = f"Kafka's jars are not in {folder}, and mvn, which would fetch them, is not on the path"
        raise CannotStart(message)
    command = [maven, "-q", "-B", "-f", str(_HERE / "pom.xml"), "dependency:copy-dependencies"]
    done = subprocess.run(
        [*command, f"-DoutputDirectory={folder.resolve()}"], capture_output=True, text=True, check=False
    )
    if done.returncode:
        message = f"mvn could not fetch Kafka's jars: {(done.stdout + done.stderr).strip()[:500]}"
        raise CannotStart(message)
    return folder


def free_port() -> int:
    """Return a port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind((_HOST, 0))
        return int(probe.getsockname()[1])


class Broker:
    """One broker, and its folder. `kill` is kill -9; `start` goes on with the same folder and port."""

    def __init__(
        self,
        folder: Path,
        *,
        port: int = 0,
        settings: Mapping[str, str] | None = None,
        login: Login | None = None,
        jars: Path | None = None,
    ) -> None:
        """Name the folder; `settings` are added to the broker's own. Raises CannotStart."""
        java = shutil.which("java")
        if java is None:
            message = "java is not on the path: Kafka needs 17 or newer"
            raise CannotStart(message)
        jars = jars or libraries()
        self.folder = folder
        self._java = [java, *_MEMORY, "-cp", f"{jars}/*", f"-Dlog4j2.configurationFile={folder / 'log4j2.properties'}"]
        self.port = port or free_port()
        self._controller = free_port()
        self._login = login
        self._settings = {**(login.settings if login else {}), **(settings or {})}
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def servers(self) -> str:
        """What a client connects to."""
        return f"{_HOST}:{self.port}"

    @property
    def pid(self) -> int | None:
        """The broker's process, None while it does not run."""
        return self._process.pid if self._process else None

    def start(self) -> None:
        """Format the folder if it is new, start the broker, wait until it answers. Raises CannotStart."""
        self._configure()
        if not (self.folder / "data" / "meta.properties").exists():
            self._format()
        with (self.folder / "kafka.log").open("ab") as log:
            command = self._command("kafka.Kafka", str(self.folder / "server.properties"))
            self._process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
        deadline = time.monotonic() + _WAIT
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.kill()
                message = f"Kafka did not start; its last words:\n{self._last_words()}"
                raise CannotStart(message)
            time.sleep(0.1)

    def stop(self) -> None:
        """Let the broker end in its own time; kill it if that takes longer than half a minute."""
        if self._process is None:
            return
        self._process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(30)
        self.kill()

    def kill(self) -> None:
        """End the broker at once, as a power loss would (kill -9)."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def _configure(self) -> None:
        """Write the settings anew: a folder may be taken up again on another port."""
        self.folder.mkdir(parents=True, exist_ok=True)
        settings = {
            **_SETTINGS,
            "listeners": f"{'SASL_SSL' if self._login else 'PLAINTEXT'}://{self.servers},CONTROLLER://{_HOST}:{self._controller}",
            "controller.quorum.voters": f"1@{_HOST}:{self._controller}",
            "log.dirs": str(self.folder / "data"),
            **self._settings,
        }
        properties = "".join(f"{name}={value}\n" for name, value in settings.items())
        (self.folder / "server.properties").write_text(properties, "utf-8")
        (self.folder / "log4j2.properties").write_text(_LOG4J, "utf-8")

    def _format(self) -> None:
        cluster = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        # One in 64 ids begins with a dash, which `-t ID` would take for another option.
        arguments = ["format", f"--cluster-id={cluster}", "-c", str(self.folder / "server.properties")]
        arguments += self._login.scram if self._login else []
        command = self._command("kafka.tools.StorageTool", *arguments)
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            message = f"Kafka's folder could not be formatted: {(done.stdout + done.stderr).strip()[-500:]}"
            raise CannotStart(message)

    def _command(self, main: str, *arguments: str) -> Sequence[str]:
        nice = ["nice", "-n", "10"] if shutil.which("nice") and os.name == "posix" else []
        return [*nice, *self._java, main, *arguments]

    def _answers(self) -> bool:
        """Ask which requests the broker understands (ApiVersions), as every client does first."""
        request = struct.pack(">hhih", 18, 0, 1, -1)
        try:
            with self._connected() as connection:
                connection.sendall(struct.pack(">i", len(request)) + request)
                return len(connection.recv(8)) > 0
        except OSError:
            return False

    def _connected(self) -> socket.socket:
        plain = socket.create_connection((_HOST, self.port), timeout=2)
        if self._login is None:
            return plain
        context = ssl.create_default_context(cafile=self._login.ca)
        return context.wrap_socket(plain, server_hostname=_HOST)

    def _last_words(self) -> str:
        return (self.folder / "kafka.log").read_text("utf-8", "replace")[-2_000:]
