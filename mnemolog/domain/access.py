"""A tenant's credentials: OAuth2 clients, API tokens and keys that sign commands, as facts like any other (design §10).

Secrets are generated with high entropy by whoever asks, shown once, and stored as SHA-256, of a key its public half; so
they reach every gateway, survive a lost view, and their history is audited.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from mnemolog.domain.decision import AccessState, Case, Decision, Delta, Draft, Seen
from mnemolog.domain.fact import Fact
from mnemolog.domain.outcomes import Reason, Rejected
from mnemolog.domain.proving import RESERVED
from mnemolog.domain.schema import Command, Name, Part, Payload, Target, sent
from mnemolog.domain.streams import single

CredentialId = Annotated[str, Field(min_length=1, max_length=128, pattern=r"^[A-Za-z0-9._~-]+$")]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
PublicKey = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Label = Annotated[str, Field(pattern=r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$")]
Role = Literal["auditor"]

# ---- commands --------------------------------------------------------------------------------------------------------


class NewClientTarget(Target):
    """The client's id and the hash of its secret, both made for the caller or chosen by him."""

    client: CredentialId
    secret_sha256: Sha256


class ClientTarget(Target):
    """A client by its id."""

    client: CredentialId


class NewTokenTarget(Target):
    """The token's id and the hash of the token."""

    token: CredentialId
    token_sha256: Sha256


class TokenTarget(Target):
    """A token by its id."""

    token: CredentialId


class NewKeyTarget(Target):
    """The key's id and its public half, an Ed25519 key as hex."""

    key: CredentialId
    public_key: PublicKey


class KeyTarget(Target):
    """A key by its id."""

    key: CredentialId


class NewClient(Part):
    """What a client may do. With `identity_zone` the token request's host names a subscriber tenant (contract §1.2)."""

    identity_zone: Label | None = None
    subscribers: list[Label] | None = None
    roles: list[Role] = []
    admin: bool = True


class NewToken(Part):
    """For whom a token speaks, and what it may do."""

    user: Name
    roles: list[Role] = []


class NewKey(Part):
    """As which actor a key signs."""

    actor: Name


class CreateClient(Command):
    """Let a client in."""

    TYPE: ClassVar[str] = "access.create-client.v1"
    target: NewClientTarget
    parts: Annotated[tuple[NewClient], Field(strict=False)]


class RevokeClient(Command):
    """Shut a client out."""

    TYPE: ClassVar[str] = "access.revoke-client.v1"
    target: ClientTarget
    parts: Annotated[tuple[()], Field(strict=False)] = ()


class CreateToken(Command):
    """Let the bearer of a token in."""

    TYPE: ClassVar[str] = "access.create-token.v1"
    target: NewTokenTarget
    parts: Annotated[tuple[NewToken], Field(strict=False)]


class RevokeToken(Command):
    """Shut the bearer of a token out."""

    TYPE: ClassVar[str] = "access.revoke-token.v1"
    target: TokenTarget
    parts: Annotated[tuple[()], Field(strict=False)] = ()


class CreateKey(Command):
    """Let the holder of a key sign commands."""

    TYPE: ClassVar[str] = "access.create-key.v1"
    target: NewKeyTarget
    parts: Annotated[tuple[NewKey], Field(strict=False)]


class RevokeKey(Command):
    """Give the holder of a key no further grant."""

    TYPE: ClassVar[str] = "access.revoke-key.v1"
    target: KeyTarget
    parts: Annotated[tuple[()], Field(strict=False)] = ()


# ---- facts -----------------------------------------------------------------------------------------------------------


class ClientCreated(Payload):
    """A client was let in."""

    TYPE: ClassVar[str] = "access.client-created.v1"
    client: str
    secret_sha256: str
    identity_zone: str | None = None
    subscribers: list[str] | None = None
    roles: list[str] = []
    admin: bool = True


class ClientRevoked(Payload):
    """A client was shut out."""

    TYPE: ClassVar[str] = "access.client-revoked.v1"
    client: str


class TokenCreated(Payload):
    """A token was let in."""

    TYPE: ClassVar[str] = "access.token-created.v1"
    token: str
    token_sha256: str
    user: str
    roles: list[str] = []


class TokenRevoked(Payload):
    """A token was shut out."""

    TYPE: ClassVar[str] = "access.token-revoked.v1"
    token: str


class KeyCreated(Payload):
    """The holder of a key was let sign commands as an actor."""

    TYPE: ClassVar[str] = "access.key-created.v1"
    key: str
    public_key: str
    actor: str


class KeyRevoked(Payload):
    """The holder of a key gets no further grant."""

    TYPE: ClassVar[str] = "access.key-revoked.v1"
    key: str


# ---- fold ------------------------------------------------------------------------------------------------------------


def evolve(seen: Seen, state: AccessState | None, fact: Fact, delta: Delta) -> AccessState:
    """Return the credentials after one more fact."""
    del seen, delta
    state = state or AccessState()
    match fact.payload:
        case ClientCreated(client=client):
            return state._replace(clients=(*state.clients, client))
        case ClientRevoked(client=client):
            return state._replace(clients=tuple(c for c in state.clients if c != client))
        case TokenCreated(token=token):
            return state._replace(tokens=(*state.tokens, token))
        case TokenRevoked(token=token):
            return state._replace(tokens=tuple(t for t in state.tokens if t != token))
        case KeyCreated(key=key):
            return state._replace(keys=(*state.keys, key))
        case KeyRevoked(key=key):
            return state._replace(keys=tuple(k for k in state.keys if k != key))
        case _:
            return state


def credential_mark(seen: Seen, payload: Payload) -> bytes:
    """Return the mark of the credential that a fact is about, empty for other facts."""
    if not payload.TYPE.startswith("access."):  # asked of every fact, and nearly none is about one
        return b""
    match payload:
        case ClientCreated(client=client) | ClientRevoked(client=client):
            return seen.mark("client", client)
        case TokenCreated(token=token) | TokenRevoked(token=token):
            return seen.mark("token", token)
        case KeyCreated(key=key) | KeyRevoked(key=key):
            return seen.mark("key", key)
        case _:
            return b""


# ---- decide ----------------------------------------------------------------------------------------------------------


_AboutOne = CreateClient | RevokeClient | CreateToken | RevokeToken | CreateKey | RevokeKey


def target_mark(seen: Seen, command: _AboutOne) -> bytes:
    """Return the mark of the credential that a command is about: a repeat must be about the same."""
    match command:
        case CreateClient(target=to) | RevokeClient(target=to):
            return seen.mark("client", to.client)
        case CreateToken(target=to) | RevokeToken(target=to):
            return seen.mark("token", to.token)
        case CreateKey(target=to) | RevokeKey(target=to):
            return seen.mark("key", to.key)


def create_client(seen: Seen, case: Case, command: CreateClient) -> Decision:
    """A client id is unique among the tenant's live clients."""
    target = command.target
    if target.client in _state(seen, case).clients:
        return Rejected(Reason.KEY_TAKEN, "a client with this id exists; revoke it first or choose another id")
    payload = ClientCreated(client=target.client, secret_sha256=target.secret_sha256, **sent(command.parts[0]))
    return [_draft(case, payload, part=0)]


def revoke_client(seen: Seen, case: Case, command: RevokeClient) -> Decision:
    """Only what is valid can be revoked."""
    if command.target.client not in _state(seen, case).clients:
        return Rejected(Reason.NOT_FOUND, "there is no client with this id")
    return [_draft(case, ClientRevoked(client=command.target.client))]


def create_token(seen: Seen, case: Case, command: CreateToken) -> Decision:
    """A token id is unique among the tenant's live tokens."""
    target = command.target
    if target.token in _state(seen, case).tokens:
        return Rejected(Reason.KEY_TAKEN, "a token with this id exists")
    payload = TokenCreated(token=target.token, token_sha256=target.token_sha256, **sent(command.parts[0]))
    return [_draft(case, payload, part=0)]


def revoke_token(seen: Seen, case: Case, command: RevokeToken) -> Decision:
    """Only what is valid can be revoked."""
    if command.target.token not in _state(seen, case).tokens:
        return Rejected(Reason.NOT_FOUND, "there is no token with this id")
    return [_draft(case, TokenRevoked(token=command.target.token))]


def create_key(seen: Seen, case: Case, command: CreateKey) -> Decision:
    """A key id is unique among the tenant's live keys; no key is an operator's, a worker's or a gateway's actor."""
    target, (part,) = command.target, command.parts
    if target.key in _state(seen, case).keys:
        return Rejected(Reason.KEY_TAKEN, "a key with this id exists")
    if part.actor.startswith(RESERVED):
        return Rejected(Reason.INVALID, f"the actor of a key must not begin with {', '.join(RESERVED)}; name an agent")
    return [_draft(case, KeyCreated(key=target.key, public_key=target.public_key, **sent(part)), part=0)]


def revoke_key(seen: Seen, case: Case, command: RevokeKey) -> Decision:
    """Only what is valid can be revoked."""
    if command.target.key not in _state(seen, case).keys:
        return Rejected(Reason.NOT_FOUND, "there is no key with this id")
    return [_draft(case, KeyRevoked(key=command.target.key))]


def _draft(case: Case, payload: Payload, part: int | None = None) -> Draft:
    return Draft(single(case.tenant, "access"), "access", payload, part)


def _state(seen: Seen, case: Case) -> AccessState:
    found = seen.stream(single(case.tenant, "access"))
    return found.body if found and isinstance(found.body, AccessState) else AccessState()
