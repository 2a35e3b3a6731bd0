"""Which usage records go with what was erased: those that name an erased owner, session or space.

1. An owner's go with `OwnerErased`, which names him and is itself taken when his erasure is closed.
2. A session's or space's go when the last of its facts has been taken.
3. Only what was read before goes: reads of the same names afterwards are reads of nothing, and are told as such.
"""

from __future__ import annotations

from mnemolog.domain.codec import decode_fact
from mnemolog.domain.erasure import Erased
from mnemolog.domain.owner import OwnerErased
from mnemolog.domain.record import FactRecord
from mnemolog.domain.session import SessionErased
from mnemolog.domain.space import SpaceErased
from mnemolog.domain.streams import kind_of, own_id
from mnemolog.domain.usage import UsageWanted

_TYPES = {OwnerErased.TYPE, SessionErased.TYPE, SpaceErased.TYPE}


def usage_gone(record: FactRecord) -> UsageWanted | None:
    """Return which usage records a fact takes with it; None for most facts."""
    if record.value is None or record.headers.get("ce_type") not in _TYPES:
        return None
    fact = decode_fact(record, linked=False)
    match fact.payload:
        case OwnerErased(agent=agent, invoker=invoker):
            return UsageWanted(fact.tenant, agent, invoker, before=fact.time)
        case Erased(ended=True):
            name = f"{kind_of(fact.stream)}/{own_id(fact.stream)}"
            return UsageWanted(fact.tenant, stream=name, before=fact.time)
        case _:
            return None
