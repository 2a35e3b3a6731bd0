"""For which tenant a client asks: the rule of the host (design §10 "Who is asking", wire contract §1.2).

1. A client without an identity zone is of its own tenant, whatever the host says.
2. With one, the first label of the host counts: the zone, an IP or a single label is the client's own tenant T; any
   other RFC 1123 label L is its subscriber T/L, so a label never reaches another provider's tenant.
3. With `subscribers`, other labels are refused; so is a host that is no host name.
"""

from __future__ import annotations

import ipaddress
import re

from mnemolog.domain.reads import ClientRow

_LABEL = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
_HOST = re.compile(r"(?P<name>\[[^\[\]]*\]|[^:\[\]]*)(?::[0-9]*)?")


def asked_tenant(client: ClientRow, host: str) -> str | None:
    """Return the tenant that a client's token request is for; None if its host names no tenant of this client's."""
    own, zone = client["tenant"], client["identity_zone"]
    if zone is None:
        return own
    found = _HOST.fullmatch(host.strip().lower())
    if found is None:
        return None
    name = found["name"].removesuffix(".")
    if _is_ip(name):
        return own
    labels = name.split(".")
    if len(labels) == 1 or labels[0] == zone:
        return own
    allowed = client["subscribers"]
    if labels[-1].isdigit() or not all(_LABEL.fullmatch(label) for label in labels):
        return None
    if allowed is not None and labels[0] not in allowed:
        return None
    return f"{own}/{labels[0]}"


def _is_ip(name: str) -> bool:
    try:
        ipaddress.ip_address(name.strip("[]"))
    except ValueError:
        return False
    return True
