"""The limits and switches that decisions depend on, as one value whose hash every fact carries (design §5).

The same command log under the same rules gives the same facts, whoever runs it: so nothing that a decision uses may
come from anywhere but the command, the state and these rules.
"""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass
from functools import cached_property

from mnemolog.domain import canonical
from mnemolog.domain.times import DAY

BATCH_LIMIT = 200
FACT_VALUE_LIMIT = 1 << 20
COMMAND_LIMIT = 4 << 20
WORK_LIMIT = 1_000
ERASE_LIMIT = 500
EVERY_TENANT = "*"
_CAME_LATER = frozenset({"signers", "authorities"})


@dataclass(frozen=True)
class Rules:
    """`window_time` is in µs; `default_ttl` and `grace` in seconds; `tokens` names the rule of counting contents.

    `grace` is how long what was soft-deleted is kept before it may be erased. `signers` are the tenants, each with its
    subscribers, whose commands must be signed, or `*` for all; `authorities` the public keys (hex) whose grants count.
    """

    never_allowed: bool = False
    default_ttl: int = 15_552_000
    grace: int = 2_592_000
    window_time: int = DAY
    window_size: int = 10_000
    tokens: str = "utf8-quarter.v1"
    signers: tuple[str, ...] = ()
    authorities: tuple[str, ...] = ()

    @cached_property
    def hash(self) -> str:
        """The SHA-256 of the rules' canonical JSON, as hex; every fact carries it.

        Members that came later count where they say something: rules that do not use them keep their hash.
        """
        said = {name: value for name, value in asdict(self).items() if value or name not in _CAME_LATER}
        return hashlib.sha256(canonical.canonical(said)).hexdigest()

    def must_sign(self, tenant: str) -> bool:
        """Tell whether a tenant's commands must be signed; a subscriber's, `provider/label`, if its provider's must."""
        return not {EVERY_TENANT, tenant, tenant.partition("/")[0]}.isdisjoint(self.signers)


def count_tokens(content: str, rule: str) -> int:
    """Return the tokens of a content under a named rule. `utf8-quarter.v1`: a quarter of its UTF-8 bytes, rounded up.

    A fixed rule, not a tokenizer: a stored count must mean the same for ever, and no model's vocabulary does.
    """
    if rule != "utf8-quarter.v1":
        message = f"there is no rule of counting tokens named {rule}"
        raise ValueError(message)
    return -(-len(content.encode()) // 4)
