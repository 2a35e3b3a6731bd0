"""Configuration: every setting with its default and its meaning, read once, at the composition root.

`config_reading` reads it, `config_checks` refuses what cannot be, `config_shown` shows it, secrets masked.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from mnemolog.domain.errors import MnemologError
from mnemolog.domain.rules import Rules

PREFIX = "MNEMOLOG_"
SECRETS = frozenset({"token_key", "authority_key", "kafka_password", "redis_password", "qdrant_key", "metrics_token"})
"""Settings that are never shown. Each may also be given as a file that holds it, `…_file`."""


class BadConfiguration(MnemologError):
    """A setting is unknown, or its value cannot be used."""


@dataclass(frozen=True, slots=True)
class Settings:
    """Every setting; `MEANINGS` says what each is."""

    data: Path = Path("mnemolog-data")
    host: str = "127.0.0.1"
    port: int = 8080
    no_auth: bool = False
    no_auth_anywhere: bool = False
    write_wait: float = 10.0
    search_wait: float = 5.0
    search_exact: bool = False
    token_seconds: int = 43_199
    tenant_rate: int = 0
    tenant_burst: int = 0
    model: str = "all-MiniLM-L6-v2"
    models: str = ""
    embedder: str = "onnx"
    never: bool = False
    command_days: int = 7
    grace_days: int = 30
    retention_at: str = "02:00"
    retention_zone: str = "UTC"
    retention_rate: int = 10_000
    runtime: str = "embedded"
    token_key: str = field(default="", repr=False)
    oidc_issuer: str = ""
    oidc_audience: str = ""
    oidc_keys: str = ""
    oidc_ca: str = ""
    oidc_tenant_claim: str = "tenant"
    oidc_user_claim: str = "sub"
    oidc_roles_claim: str = "roles"
    oidc_tenants: str = ""
    oidc_pause: float = 10.0
    signed_tenants: str = ""
    authorities: str = ""
    authority_key: str = field(default="", repr=False)
    grant_hours: int = 24
    kafka: str = ""
    kafka_tls: bool = False
    kafka_ca: str = ""
    kafka_certificate: str = ""
    kafka_key: str = ""
    kafka_sasl: str = ""
    kafka_user: str = ""
    kafka_password: str = field(default="", repr=False)
    partitions: int = 1
    redis: str = field(default="redis://127.0.0.1:6379/0", repr=False)
    redis_user: str = ""
    redis_password: str = field(default="", repr=False)
    redis_ca: str = ""
    redis_certificate: str = ""
    redis_key: str = ""
    redis_rewrite: float = 600.0
    qdrant: str = ""
    qdrant_key: str = field(default="", repr=False)
    qdrant_ca: str = ""
    health_port: int = 0
    topic_prefix: str = ""
    audit_key: str = ""
    audit_heads: str = ""
    audit_also: str = ""
    audit_every: float = 3_600.0
    former_rules: str = ""
    usage: str = "counts"
    log_level: str = "info"
    log_format: str = "text"
    metrics_token: str = field(default="", repr=False)

    def shared_token_key(self) -> bytes | None:
        """Return the key that all gateways share; None if none is set."""
        return bytes.fromhex(self.token_key) if self.token_key else None

    @property
    def exported(self) -> Path:
        """The folder of exported embedding models."""
        return Path(self.models) if self.models else self.data / "models"

    def rules(self) -> Rules:
        """Return what of the configuration decisions depend on."""
        return Rules(
            never_allowed=self.never,
            grace=self.grace_days * 86_400,
            signers=_listed(self.signed_tenants),
            authorities=_listed(self.authorities.lower()),
        )


def _listed(text: str) -> tuple[str, ...]:
    """Return what commas separate, each once and sorted: the order of a list is no other rule."""
    return tuple(sorted({name.strip() for name in text.split(",") if name.strip()}))


MEANINGS = {
    "data": "the data folder",
    "host": "the address to listen on",
    "port": "the port to listen on; 0 takes a free one",
    "no_auth": "let everyone in, as one tenant and user: local development only",
    "no_auth_anywhere": "allow no_auth on an address that others can reach",
    "write_wait": "seconds that a write may take until it is answered with 504 or 500",
    "search_wait": "seconds that a search waits for its scope to be indexed",
    "search_exact": "compare all memories of an owner also where they are more than 100,000 on a Qdrant server",
    "token_seconds": "how long an OAuth2 access token is valid, in seconds",
    "tenant_rate": "requests a second that a tenant may make of one process; more are answered 429; 0 is no limit",
    "tenant_burst": "requests that may come at once before that counts; 0 is twice the rate",
    "model": "the embedding model: the packaged one, `hashing` (tests), or a sentence-transformers name or path",
    "models": "the folder of exported embedding models; empty is `models` in the data folder",
    "embedder": "what runs the embedding model: onnx (ONNX Runtime, PyTorch until the model is exported), or torch",
    "never": "allow lifecycle strategies with the trigger `never`",
    "command_days": "days that decided commands are kept",
    "grace_days": "days that what was soft-deleted is kept before it is erased",
    "retention_at": "the time of day, HH:MM, of the nightly sweep by the tenants' retention policies",
    "retention_zone": "the time zone of retention_at, such as UTC or Europe/Berlin",
    "retention_rate": "how many deletions a second retention proposes at the most",
    "runtime": "what serves run on: embedded, or kafka (the distributed runtime)",
    "token_key": "the key that signs access tokens, 32 bytes or more in hex: every gateway needs the same",
    "oidc_issuer": "the URL of an OIDC issuer whose tokens open both faces, exactly as its tokens name it",
    "oidc_audience": "for whom these tokens must be meant: the audience that the issuer knows this service by",
    "oidc_keys": "the URL of the issuer's JSON Web Key Set; without one, its own description says where",
    "oidc_ca": "the file of the authorities that may vouch for the issuer (https://), in PEM",
    "oidc_tenant_claim": "the claim that names the tenant; inside another one with a dot: org.name",
    "oidc_user_claim": "the claim that names the user, whose spaces these are",
    "oidc_roles_claim": "the claim of roles: mnemolog.admin sets the retention policy, mnemolog.auditor reads /audit",
    "oidc_tenants": "the tenants that the issuer may speak for, separated by commas; without any, all",
    "oidc_pause": "seconds between two fetches of the issuer's keys, when tokens come with a key that is not known",
    "signed_tenants": "tenants, with their subscribers, whose commands must be signed, separated by commas; * is all",
    "authorities": "the public keys of who may grant keys that sign, Ed25519 in hex, separated by commas",
    "authority_key": "the key that signs grants, 32 bytes in hex: gateways, workers and `keys create` need it",
    "grant_hours": "hours until a grant ends: so long may a key that was revoked go on signing",
    "kafka": "Kafka's bootstrap servers, host:port, separated by commas",
    "kafka_tls": "speak TLS with Kafka; its certificate and host name are always checked",
    "kafka_ca": "the file of the authorities that may vouch for Kafka, in PEM; without one, the operating system's",
    "kafka_certificate": "the file of this client's own certificate for Kafka, in PEM, where the brokers ask for one",
    "kafka_key": "the file of that certificate's key, in PEM without a passphrase; it may stand in the same file",
    "kafka_sasl": "how to log in to Kafka: PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512; without one, nobody logs in",
    "kafka_user": "the user who logs in to Kafka",
    "kafka_password": "that user's password",
    "redis": "the URL of the Redis that keeps the state views: redis://, rediss:// (TLS) or unix://",
    "redis_user": "the ACL user who logs in to Redis, if the URL names none",
    "redis_password": "that user's password, or Redis' own where there is no user",
    "redis_ca": "the file of the authorities that may vouch for Redis, in PEM; without one, the operating system's",
    "redis_certificate": "the file of this client's own certificate for Redis, in PEM, where it asks for one",
    "redis_key": "the file of that certificate's key, in PEM without a passphrase",
    "redis_rewrite": "seconds between two rewrites of Redis' files after rows were dropped; 0 never asks for one",
    "qdrant": "the URL of a Qdrant server for the distributed runtime; without one, each gateway keeps its own index",
    "qdrant_key": "the API key for that server, if it wants one",
    "qdrant_ca": "the file of the authorities that may vouch for Qdrant (https://), in PEM",
    "health_port": "the port of a worker's own health page and metrics; 0 is none",
    "partitions": "partitions of every topic in Kafka: a power of two up to 4096, decided once",
    "topic_prefix": "what stands before the name of every topic and transactional id in Kafka",
    "audit_key": "the file of the auditor's Ed25519 key, out of reach of whoever runs the log",
    "audit_heads": "the folder that signed heads go to, out of reach of whoever runs the log",
    "audit_also": "where signed heads go besides: http(s) URLs, kafka://host:port/topic, separated by commas",
    "audit_every": "seconds between two signed heads of the audit worker",
    "former_rules": "a file of rules that held before, a line of `mnemolog config rules` each, for `audit verify`",
    "usage": "what the usage log keeps of reads: counts, queries (the texts of searches too), or off",
    "log_level": "debug, info, warning or error",
    "log_format": "text, or json: one object a line, with ids and never content",
    "metrics_token": "the bearer token that opens /metrics, of every process; without one it is closed",
}
