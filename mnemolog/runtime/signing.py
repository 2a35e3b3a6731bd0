"""What this process proposes, signed where the rules ask for it; and grants for the keys of others (ADR 0016).

1. The process has a key of its own, made at its start and never written down, and grants it to itself for each tenant
   and actor that it speaks for: the authority's key is the right to speak for everyone.
2. A grant is made anew at half of its time.
3. Without the authority's key, whatever must be signed is refused here, with the name of the setting that is missing.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from mnemolog.domain.codec import Envelope, encode_command
from mnemolog.domain.record import CommandRecord
from mnemolog.domain.signature import Key, grant_text, signed_headers
from mnemolog.domain.times import SECOND, to_text
from mnemolog.runtime.config import BadConfiguration, Settings
from mnemolog.runtime.folder import now

if TYPE_CHECKING:
    from producers.signing import Signer

_SEED = 32
_HOUR = 3_600 * SECOND
_REMEMBERED = 4_096
NO_AUTHORITY = (
    "MNEMOLOG_AUTHORITY_KEY is not set, and without it nothing can be granted or signed here; `mnemolog keys authority`"
    " makes one, whose public half MNEMOLOG_AUTHORITIES names"
)


class Granted(NamedTuple):
    """A grant as it travels, and its end as text."""

    grant: str
    ends: str


class Signatory:
    """Signs for this process, and grants keys, by the settings' authority. May be shared by threads."""

    def __init__(self, settings: Settings, clock: Callable[[], int] = now) -> None:
        """Take the settings, and a clock of µs. Raises BadConfiguration where key and rules contradict each other."""
        self._rules = settings.rules()
        self._lifetime = settings.grant_hours * _HOUR
        self._clock = clock
        self._authority = None
        self._own: Key | None = None
        self._grants: dict[tuple[str, str], tuple[str, int]] = {}
        if settings.authority_key:
            self._authority = Key(bytes.fromhex(settings.authority_key))
            if self._authority.public not in self._rules.authorities:
                message = (
                    "MNEMOLOG_AUTHORITY_KEY is not the key of any of MNEMOLOG_AUTHORITIES, so what it grants would not"
                    f" count; its public half is {self._authority.public}"
                )
                raise BadConfiguration(message)

    def ready(self) -> None:
        """Make sure that what must be signed can be. Raises BadConfiguration."""
        if self._rules.signers and self._authority is None:
            message = f"MNEMOLOG_SIGNED_TENANTS wants commands signed, those of this process too: {NO_AUTHORITY}"
            raise BadConfiguration(message)

    @property
    def grants(self) -> bool:
        """Whether keys can be granted here."""
        return self._authority is not None

    def encode(self, envelope: Envelope) -> CommandRecord:
        """Write a command, signed if its tenant's must be. Raises BadConfiguration, ValueError as `encode_command`."""
        record = encode_command(envelope)
        signed = self.headers(record.headers, record.value or b"")
        return replace(record, headers={**record.headers, **signed}) if signed else record

    def headers(self, headers: Mapping[str, str], value: bytes) -> dict[str, str]:
        """Return what signs a command of these headers and this value; nothing where nobody must. See `encode`."""
        tenant, actor = headers["tenant"], headers["actor"]
        if not self._rules.must_sign(tenant):
            return {}
        at = self._clock()
        grant, half = self._grants.get((tenant, actor), ("", 0))
        if at >= half:
            grant = self.grant(tenant, actor, "own", self._key().public).grant
            if len(self._grants) >= _REMEMBERED:
                self._grants.clear()
            self._grants[tenant, actor] = grant, at + self._lifetime // 2
        return signed_headers(self._key(), grant, headers, value, to_text(at))

    def grant(self, tenant: str, actor: str, identifier: str, key: str) -> Granted:
        """Grant a public key from now on. Raises BadConfiguration without an authority, ValueError for long names."""
        if self._authority is None:
            raise BadConfiguration(NO_AUTHORITY)
        ends = to_text(self._clock() + self._lifetime)
        return Granted(grant_text(self._authority, tenant, actor, identifier, key, ends), ends)

    def signer(self, tenant: str, actor: str) -> Signer | None:
        """Return what signs for a publisher of the operator's; None where it need not."""
        from producers.signing import KeyFile, Signer

        if not self._rules.must_sign(tenant):
            return None
        seed = secrets.token_bytes(_SEED)
        public = Key(seed).public

        def grant(_: object = None) -> str:
            return self.grant(tenant, actor, "own", public).grant

        key = {"id": "own", "tenant": tenant, "actor": actor, "key": seed.hex(), "grant": grant()}
        return Signer(KeyFile(key), renew=grant)

    def _key(self) -> Key:
        if self._own is None:
            self._own = Key(secrets.token_bytes(_SEED))
        return self._own


def new_seed() -> str:
    """Return the seed of a new key, as hex."""
    return secrets.token_bytes(_SEED).hex()
