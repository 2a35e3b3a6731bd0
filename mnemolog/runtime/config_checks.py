"""What settings cannot be, alone or together: a sentence for each mistake, with the variable's name and the remedy.

Nothing is opened or asked here but the files that settings name.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from urllib.parse import urlsplit

from mnemolog.domain.ids import partition_of
from mnemolog.runtime.config import PREFIX, BadConfiguration, Settings
from mnemolog.runtime.nightly import Nightly
from mnemolog.runtime.secured import TLS, tls

_NO_FILES = {"qdrant_key"}
_LONGEST_WAIT = 3_600
_LAST_PORT = 65_535
_KEY_BYTES = 32
LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})
_CHOICES = {
    "log_level": ("debug", "info", "warning", "error"),
    "log_format": ("text", "json"),
    "runtime": ("embedded", "kafka"),
    "usage": ("counts", "queries", "off"),
    "embedder": ("onnx", "torch"),
    "kafka_sasl": ("", "PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"),
}
_WAITS = ("write_wait", "search_wait", "oidc_pause")
_LEAST = {
    "token_seconds": 1,
    "command_days": 1,
    "retention_rate": 1,
    "grace_days": 0,
    "grant_hours": 1,
    "tenant_rate": 0,
    "tenant_burst": 0,
}


def complaints(settings: Settings) -> Iterator[str]:
    """Yield what is wrong."""
    yield from _values(settings)
    yield from _together(settings)
    yield from _connections(settings)


def _values(settings: Settings) -> Iterator[str]:
    """Yield the settings that are wrong whatever the others are."""
    for name, choices in _CHOICES.items():
        if (value := getattr(settings, name)) not in choices:
            named = [choice or "nothing" for choice in choices]
            yield f"{variable(name)} must be {', '.join(named[:-1])} or {named[-1]}, not {value!r}"
    for name in ("port", "health_port"):
        if not 0 <= (port := getattr(settings, name)) <= _LAST_PORT:
            yield f"{variable(name)} must be 0 to {_LAST_PORT}, not {port}"
    for name in _WAITS:
        if not 0 < (seconds := getattr(settings, name)) <= _LONGEST_WAIT:
            yield f"{variable(name)} must be more than 0 and at most {_LONGEST_WAIT} seconds, not {seconds}"
    for name, least in _LEAST.items():
        if (number := getattr(settings, name)) < least:
            yield f"{variable(name)} must be {least} or more, not {number}"
    if not settings.audit_every > 0:
        yield f"MNEMOLOG_AUDIT_EVERY must be more than 0 seconds, not {settings.audit_every}"
    try:
        key = settings.shared_token_key()
    except ValueError:
        key = b""
    if key is not None and len(key) < _KEY_BYTES:
        yield f"MNEMOLOG_TOKEN_KEY must be {_KEY_BYTES} bytes or more in hex; `openssl rand -hex 32` makes one"
    yield from _signing(settings)
    if settings.qdrant and not settings.qdrant.startswith(("http://", "https://")):
        yield f"MNEMOLOG_QDRANT must be a URL like http://127.0.0.1:6333, not {settings.qdrant!r}"
    try:
        partition_of(0, settings.partitions)
    except ValueError as error:
        yield f"MNEMOLOG_PARTITIONS is wrong: {error}"
    try:
        Nightly(settings.retention_at, settings.retention_zone)
    except ValueError as error:
        yield f"MNEMOLOG_RETENTION_AT or MNEMOLOG_RETENTION_ZONE is wrong: {error}"


def _signing(settings: Settings) -> Iterator[str]:
    """Yield what is wrong with who signs and who grants."""
    rules = settings.rules()
    if (settings.authority_key and not _is_key(settings.authority_key)) or not all(map(_is_key, rules.authorities)):
        yield (
            f"MNEMOLOG_AUTHORITY_KEY and each of MNEMOLOG_AUTHORITIES must be {_KEY_BYTES} bytes in hex; `mnemolog keys"
            " authority` makes both"
        )
    if rules.signers and not rules.authorities:
        yield "MNEMOLOG_SIGNED_TENANTS needs MNEMOLOG_AUTHORITIES: whose grants count, or nobody's command would"
    if settings.authority_key and not rules.authorities:
        yield "MNEMOLOG_AUTHORITY_KEY needs MNEMOLOG_AUTHORITIES, which names its public half: whose grants count"
    if rules.authorities and importlib.util.find_spec("cryptography") is None:
        yield 'MNEMOLOG_AUTHORITIES needs a library that checks signatures: pip install "mnemolog[audit]"'


def _is_key(text: str) -> bool:
    try:
        return len(bytes.fromhex(text)) == _KEY_BYTES and len(text) == 2 * _KEY_BYTES
    except ValueError:
        return False


def _together(settings: Settings) -> Iterator[str]:
    """Yield what contradicts itself."""
    if settings.runtime == "kafka" and not settings.kafka:
        yield "MNEMOLOG_KAFKA must name Kafka's bootstrap servers, host:port, separated by commas"
    if settings.oidc_issuer and not settings.oidc_audience:
        yield "MNEMOLOG_OIDC_ISSUER needs MNEMOLOG_OIDC_AUDIENCE, or a token for any other service would open this one"
    for name in ("oidc_audience", "oidc_keys", "oidc_ca", "oidc_tenants"):
        if getattr(settings, name) and not settings.oidc_issuer:
            yield f"{variable(name)} is set, but MNEMOLOG_OIDC_ISSUER names no issuer"
    for name in ("oidc_issuer", "oidc_keys"):
        if (url := getattr(settings, name)) and not private(url):
            yield f"{variable(name)} must be an https:// address, or http:// on this machine, not {url!r}"
    if settings.no_auth and settings.oidc_issuer:
        yield "MNEMOLOG_NO_AUTH lets everyone in, and MNEMOLOG_OIDC_ISSUER names who may come in: give one of them"
    if settings.tenant_burst and not settings.tenant_rate:
        yield "MNEMOLOG_TENANT_BURST is set, but without MNEMOLOG_TENANT_RATE there is no limit"
    for name in ("qdrant_key", "qdrant_ca"):
        if getattr(settings, name) and not settings.qdrant:
            yield f"{variable(name)} is set, but MNEMOLOG_QDRANT names no server that it is for"
    if settings.no_auth and not settings.no_auth_anywhere and settings.host not in LOOPBACK:
        yield (
            f"MNEMOLOG_NO_AUTH would let everyone who reaches {settings.host} read and write everything; listen on"
            " 127.0.0.1, or set MNEMOLOG_NO_AUTH_ANYWHERE=true if that is what you want"
        )


def _connections(settings: Settings) -> Iterator[str]:
    """Yield what contradicts itself in how the servers are reached, and the files that cannot be used."""
    if settings.kafka_sasl and not (settings.kafka_user and settings.kafka_password):
        yield "MNEMOLOG_KAFKA_SASL needs MNEMOLOG_KAFKA_USER and MNEMOLOG_KAFKA_PASSWORD: who logs in, and how"
    if (settings.kafka_user or settings.kafka_password) and not settings.kafka_sasl:
        yield "MNEMOLOG_KAFKA_USER or MNEMOLOG_KAFKA_PASSWORD is set, but MNEMOLOG_KAFKA_SASL names no way to log in"
    if not settings.redis.startswith(("redis://", "rediss://", "unix://")):
        yield "MNEMOLOG_REDIS must be a URL of Redis, like redis://127.0.0.1:6379/0, rediss://… (TLS) or unix://…"
    if (settings.redis_user or settings.redis_password) and "@" in settings.redis:
        yield "MNEMOLOG_REDIS names a user or a password, and so does MNEMOLOG_REDIS_USER or MNEMOLOG_REDIS_PASSWORD"
    spoken = {
        "kafka": (settings.kafka_tls, "MNEMOLOG_KAFKA_TLS is not true"),
        "redis": (settings.redis.startswith("rediss://"), "MNEMOLOG_REDIS is not rediss://"),
        "oidc": (settings.oidc_issuer.startswith("https://"), "MNEMOLOG_OIDC_ISSUER is not https://"),
        "qdrant": (settings.qdrant.startswith("https://") or not settings.qdrant, "MNEMOLOG_QDRANT is not https://"),
    }
    for server, (on, why) in spoken.items():
        named = [name for part in TLS if getattr(settings, name := f"{server}_{part}", "") and name not in _NO_FILES]
        if named and not on:
            yield f"{', '.join(map(variable, named))}: nothing is encrypted, as {why}"
        elif f"{server}_key" in named and f"{server}_certificate" not in named:
            yield f"{variable(f'{server}_key')} needs {variable(f'{server}_certificate')}, whose key it is"
        elif named:
            try:
                tls(settings, server)
            except BadConfiguration as error:
                yield str(error)


def private(url: str) -> bool:
    """Tell whether nobody on the way can answer instead: by TLS, or on this machine."""
    parts = urlsplit(url)
    return parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in LOOPBACK)


def variable(name: str) -> str:
    """Return the variable of a setting."""
    return f"{PREFIX}{name.upper()}"
