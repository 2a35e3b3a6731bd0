"""Servers that let nobody in without TLS and a login: Kafka (SASL over TLS) and Redis (TLS, an ACL user)."""

from __future__ import annotations

import contextlib
import hashlib
import os
import subprocess
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import redis

from deploy.stack.kafka import Broker, CannotStart, Login, free_port
from deploy.stack.redis_tls import program
from tests.brokers import Kafka, used
from tests.certificates import Authority, Pair

USER, PASSWORD = "mnemolog", 'two words: "a/b@c#%d"'
"""A password with what a URL or a file of settings may stumble over."""
_PLAIN = "a-password"


@dataclass(frozen=True)
class Secured:
    """Both servers, and what opens them."""

    authority: Authority
    stranger: Authority
    client: Pair
    kafka: Kafka
    redis: Mapping[str, Any]

    @property
    def settings(self) -> dict[str, Any]:
        """The settings that lead to both, as a file of settings has them."""
        return {**self.kafka.settings, **self.redis}


@contextlib.contextmanager
def started(folder: Path) -> Iterator[Secured]:
    """Start both on certificates of their own; skip with the reason where one cannot be had."""
    authority, stranger = Authority(folder), Authority(folder, "strangers")
    server, client = authority.server(), authority.client()
    try:
        found = program()
        broker = Broker(folder / "kafka", login=Login(server.both, authority.ca, {USER: _PLAIN}))
    except CannotStart as error:
        used["Kafka and Redis with TLS"] = f"none: {error}"
        pytest.skip(f"no servers with TLS: {error}")
    with contextlib.ExitStack() as stopping:
        broker.start()
        stopping.callback(broker.stop)
        version = subprocess.run(
            [found.path, "--version"],
            env={**os.environ, **found.environment},
            capture_output=True,
            text=True,
            check=True,
        ).stdout.split()[2]
        used["Kafka and Redis with TLS"] = f"a local broker at {broker.servers} (SASL_SSL), {found.path} {version}"
        url = stopping.enter_context(_redis(folder, server, authority))
        kafka = {
            "kafka_tls": True,
            "kafka_ca": str(authority.ca),
            "kafka_sasl": "SCRAM-SHA-512",
            "kafka_user": USER,
            "kafka_password": _PLAIN,
        }
        redis_ = {
            "redis": url,
            "redis_user": USER,
            "redis_password": PASSWORD,
            "redis_ca": str(authority.ca),
            "redis_certificate": str(client.certificate),
            "redis_key": str(client.key),
        }
        yield Secured(authority, stranger, client, Kafka(broker.servers, broker, kafka), redis_)


@contextlib.contextmanager
def _redis(folder: Path, server: Pair, authority: Authority) -> Iterator[str]:
    """Start a Redis that speaks TLS alone, asks for a client's certificate, and knows one user; gives its URL."""
    port, found = free_port(), program()
    home = folder / "redis"
    home.mkdir()
    settings = home / "redis.conf"
    settings.write_text(
        f"""\
        port 0
        tls-port {port}
        bind 127.0.0.1
        tls-cert-file {server.certificate}
        tls-key-file {server.key}
        tls-ca-cert-file {authority.ca}
        tls-auth-clients yes
        user default off
        user {USER} on #{_hashed(PASSWORD)} ~* &* +@all
        dir {home}
        appendonly yes
        save ""
        """.replace("        ", "")
    )
    with (home / "log").open("wb") as log:
        process = subprocess.Popen(
            [found.path, settings], env={**os.environ, **found.environment}, stdout=log, stderr=log
        )
    try:
        client = authority.client("probe")
        deadline = time.monotonic() + 20
        url = f"rediss://127.0.0.1:{port}/0"
        with redis.Redis.from_url(
            url,
            username=USER,
            password=PASSWORD,
            ssl_ca_certs=str(authority.ca),
            ssl_certfile=str(client.certificate),
            ssl_keyfile=str(client.key),
        ) as probe:
            while True:
                try:
                    probe.ping()
                    break
                except redis.exceptions.ConnectionError:
                    if process.poll() is not None or time.monotonic() > deadline:
                        raise AssertionError((home / "log").read_text()[-2_000:]) from None
                    time.sleep(0.05)
        yield url
    finally:
        process.terminate()
        process.wait()


def _hashed(password: str) -> str:
    return hashlib.sha256(password.encode()).hexdigest()
