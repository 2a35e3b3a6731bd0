"""How every client of ours proves who it is and whom it speaks to: SASL, TLS, ACL users, from the settings alone.

1. Where TLS is on, a server's certificate and name are always checked; there is no setting that turns this off.
2. Authorities are those of `…_ca`, and of the operating system where none is named.
3. One function a server kind, for all clients of that kind: none can be forgotten.
"""

from __future__ import annotations

import ssl
from typing import Any

from mnemolog.runtime.config import BadConfiguration, Settings

TLS = ("ca", "certificate", "key")


def kafka_options(settings: Settings) -> dict[str, Any]:
    """Return the options of a Kafka client; aiokafka's and kafka-python's have the same names."""
    options: dict[str, Any] = {}
    if settings.kafka_tls:
        options["ssl_context"] = tls(settings, "kafka")
    if settings.kafka_sasl:
        options |= {
            "sasl_mechanism": settings.kafka_sasl,
            "sasl_plain_username": settings.kafka_user,
            "sasl_plain_password": settings.kafka_password,
        }
    if options:
        options["security_protocol"] = f"{'SASL_' if settings.kafka_sasl else ''}{_layer(settings)}"
    return options


def redis_options(settings: Settings) -> dict[str, Any]:
    """Return the options of a Redis client besides its URL."""
    options: dict[str, Any] = {}
    if settings.redis_user:
        options["username"] = settings.redis_user
    if settings.redis_password:
        options["password"] = settings.redis_password
    if settings.redis.startswith("rediss://"):
        names = {"ssl_ca_certs": "redis_ca", "ssl_certfile": "redis_certificate", "ssl_keyfile": "redis_key"}
        options |= {name: getattr(settings, setting) or None for name, setting in names.items()}
    return options


def qdrant_options(settings: Settings) -> dict[str, Any]:
    """Return the options of a Qdrant client besides its URL and key."""
    return {"verify": tls(settings, "qdrant")} if settings.qdrant_ca else {}


def tls(settings: Settings, server: str) -> ssl.SSLContext:
    """Return the context of the settings `<server>_ca`, `…_certificate` and `…_key`. Raises BadConfiguration."""
    ca, certificate, key = (getattr(settings, f"{server}_{name}", "") for name in TLS)  # Qdrant has no certificate here
    variable = f"MNEMOLOG_{server.upper()}"
    try:
        context = ssl.create_default_context(cafile=ca or None)
    except OSError as error:
        message = f"{variable}_CA must be a file of certificates in PEM, and {ca} cannot be used: {_said(error)}"
        raise BadConfiguration(message) from None
    try:
        if certificate:
            context.load_cert_chain(certificate, key or None, lambda: "")
    except OSError as error:
        message = (
            f"{variable}_CERTIFICATE and {variable}_KEY must be files in PEM that belong together, and the key must"
            f" have no passphrase; {certificate} and {key or certificate} cannot be used: {_said(error)}"
        )
        raise BadConfiguration(message) from None
    return context


def _layer(settings: Settings) -> str:
    return "SSL" if settings.kafka_tls else "PLAINTEXT"


def _said(error: OSError) -> str:
    return error.strerror or str(error)
