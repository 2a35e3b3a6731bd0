"""What settings allow and their operator may not have meant: said by `mnemolog config check`, refused by nobody."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import urlsplit

from mnemolog.runtime.config import Settings
from mnemolog.runtime.config_checks import LOOPBACK


def hints(settings: Settings) -> Iterator[str]:
    """Yield a sentence for each."""
    if settings.runtime == "kafka" and not settings.token_key:
        yield "MNEMOLOG_TOKEN_KEY is not set: each gateway signs with a key of its own, and no other knows its tokens"
    if settings.signed_tenants and not settings.authority_key:
        yield "MNEMOLOG_AUTHORITY_KEY is not set: gateways and workers cannot sign with this, audits can check"
    if settings.host not in LOOPBACK:
        yield f"MNEMOLOG_HOST is {settings.host}: the server speaks plain HTTP, so put TLS in front of it"
    if settings.no_auth_anywhere and not settings.no_auth:
        yield "MNEMOLOG_NO_AUTH_ANYWHERE does nothing without MNEMOLOG_NO_AUTH"
    if settings.qdrant_key and settings.qdrant.startswith("http://") and _away(settings.qdrant):
        yield "MNEMOLOG_QDRANT_KEY travels in the clear: MNEMOLOG_QDRANT is http://, not https://"
    if settings.kafka_sasl == "PLAIN" and not settings.kafka_tls:
        yield "MNEMOLOG_KAFKA_PASSWORD travels in the clear: MNEMOLOG_KAFKA_SASL is PLAIN without MNEMOLOG_KAFKA_TLS"
    password = settings.redis_password or "@" in settings.redis
    if password and settings.redis.startswith("redis://") and _away(settings.redis):
        yield "Redis' password travels in the clear: MNEMOLOG_REDIS is redis://, not rediss://"


def _away(url: str) -> bool:
    return urlsplit(url).hostname not in LOOPBACK
