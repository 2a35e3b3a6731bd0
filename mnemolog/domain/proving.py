"""Who must sign, and what is wrong with what a command brings to prove who said it (ADR 0016).

1. A command of a tenant that must sign is refused unless grant and signature hold; so is a signature that is wrong
   where nobody must sign: it is better noticed before it counts.
2. Under rules that name no authority and nobody who must sign, nothing is looked at: old decisions stay what they were.
3. Whoever must sign changes no credentials with a key that was granted to him: or a key could make its successor
   before it is revoked. Operators and workers have grants of their own, which no `keys create` gives.
"""

from __future__ import annotations

from mnemolog.domain import signature
from mnemolog.domain.rules import Rules
from mnemolog.domain.signature import ALGORITHM, SIGNATURE, TIME, Grant, Proof, instant
from mnemolog.domain.times import SECOND

AHEAD = 300 * SECOND
"""How far a signer's clock may be ahead of the log's (µs)."""
MARGIN = 2 * AHEAD
"""How much sooner than the idempotency window a signature ends (µs), so that no copy of it outlives the window, though
signers' clocks are ahead of the log's, and brokers' differ."""
RESERVED = ("operator/", "worker/", "client/", "token/", "oidc/")
"""How the actors begin that gateways, workers and operators speak as: no key of a tenant is granted one of them."""
_CREDENTIALS = "access."
_MAY_CHANGE_CREDENTIALS = ("operator/", "worker/")


def flaw(said: tuple[str, str, str, str], proof: Proof | None, at: int, rules: Rules) -> str:
    """Return why a command is not proven to be its actor's, empty if it is, or need not be.

    `said` is its id, type, tenant and actor; `at` the log's time (µs).
    """
    if not rules.authorities and not rules.signers:
        return ""
    identifier, kind, tenant, actor = said
    must = rules.must_sign(tenant)
    if proof is None:
        named = f"{signature.GRANT}, {SIGNATURE} and {TIME}"
        return f"commands of this tenant must be signed, and this one has no headers {named}" if must else ""
    grant = signature.read_grant(proof.grant)
    if grant is None:
        return "its grant cannot be read, or is not signed by the authority that it names; renew it"
    if why := _not_granted(grant, tenant, actor, at, rules):
        return why
    if must and kind.startswith(_CREDENTIALS) and not actor.startswith(_MAY_CHANGE_CREDENTIALS):
        return "a granted key may not change credentials; an operator does, with `mnemolog keys`, `clients` or `tokens`"
    return _not_signed(
        {"ce_id": identifier, "ce_type": kind, "tenant": tenant, "actor": actor}, proof, grant, at, rules
    )


def _not_granted(grant: Grant, tenant: str, actor: str, at: int, rules: Rules) -> str:
    if grant.authority not in rules.authorities:
        return "its grant is of an authority that does not count here, or does not count any more; renew it"
    if grant.tenant != tenant:
        return "its grant is of another tenant"
    if grant.actor != actor:
        return "its grant is of another actor"
    ends = instant(grant.ends)
    if ends is None or at >= ends:
        return f"its grant ended at {grant.ends}; renew it"
    return ""


def _not_signed(headers: dict[str, str], proof: Proof, grant: Grant, at: int, rules: Rules) -> str:
    time = instant(proof.time)
    if time is None:
        return f"its time of signing, the header {TIME}, must be like 2026-11-25T09:30:00Z"
    if time <= at - rules.window_time + MARGIN:
        return "it was signed too long ago: it may be a copy, played back after the idempotency window; sign it anew"
    if time > at + AHEAD:
        return f"it was signed more than {AHEAD // SECOND} seconds ahead of the log's time; set the signer's clock"
    if not proof.signature.startswith(ALGORITHM):
        return f"its signature is of another algorithm than {ALGORITHM.rstrip(':')}"
    message = signature.command_message({**headers, TIME: proof.time}, proof.digest)
    if not signature.verified(grant.key, message, proof.signature.removeprefix(ALGORITHM)):
        return "its signature is not that of the granted key over this id, type, tenant, actor, time and value"
    return ""
