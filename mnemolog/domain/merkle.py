"""A Merkle tree over links in the order of their ordinals, built as they come: RFC 6962 §2.1's tree hash.

1. A leaf is `SHA-256(0x00 ‖ link)`, a node `SHA-256(0x01 ‖ left ‖ right)`; n leaves are split at the largest power of
   two below n; the root of none is `SHA-256("")`.
2. Only the roots of whole subtrees are kept: log2(n) hashes, and any tree that has grown gives the root of what it held
   when it was asked (design §8, heads).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable


class Tree:
    """A tree that only grows."""

    def __init__(self) -> None:
        """Start empty."""
        self.size = 0
        self._whole: list[bytes] = []  # of 2^k leaves each, largest first, as the bits of `size` say

    def append(self, link: bytes) -> None:
        """Add a leaf."""
        node = hashlib.sha256(b"\x00" + link).digest()
        size = self.size
        while size & 1:
            node = hashlib.sha256(b"\x01" + self._whole.pop() + node).digest()
            size >>= 1
        self._whole.append(node)
        self.size += 1

    def root(self) -> bytes:
        """Return the root of the leaves so far."""
        if not self._whole:
            return hashlib.sha256(b"").digest()
        *before, node = self._whole
        for left in reversed(before):
            node = hashlib.sha256(b"\x01" + left + node).digest()
        return node


def root(links: Iterable[bytes]) -> bytes:
    """Return the root of these links."""
    tree = Tree()
    for link in links:
        tree.append(link)
    return tree.root()
