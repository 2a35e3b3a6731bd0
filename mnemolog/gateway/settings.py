"""What the face is told at the composition root; it reads no configuration itself."""

from __future__ import annotations

from dataclasses import dataclass, field

from mnemolog.domain.rules import COMMAND_LIMIT

_KEY_BYTES = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class FaceSettings:
    """`token_key` signs the tokens of `/oauth/token`; waits are in seconds, `max_body` in bytes.

    With `no_auth` everyone is `no_auth_user` of `no_auth_tenant`, and may change its policy.
    `metrics_token` opens `/metrics`. `tenant_rate` is a tenant's requests a second, 0 without a limit.
    """

    token_key: bytes = field(repr=False)
    token_seconds: int = 43_199
    no_auth: bool = False
    no_auth_tenant: str = "local"
    no_auth_user: str = "local"
    write_wait: float = 10.0
    position_wait: float = 10.0
    metrics_token: str = field(default="", repr=False)
    max_body: int = COMMAND_LIMIT
    tenant_rate: int = 0
    tenant_burst: int = 0

    def __post_init__(self) -> None:
        """Refuse a key that HMAC-SHA-256 would be weak with (RFC 7518 §3.2)."""
        if not self.no_auth and len(self.token_key) < _KEY_BYTES:
            message = f"the token key must have {_KEY_BYTES} bytes or more, not {len(self.token_key)}"
            raise ValueError(message)
