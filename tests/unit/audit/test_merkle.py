"""The Merkle tree over links: RFC 6962's own examples, and two ways to compute it that agree."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mnemolog.audit import verifier
from mnemolog.domain.merkle import Tree, root

pytestmark = pytest.mark.unit

# The leaves and roots of the test suite of Certificate Transparency (RFC 6962 §2.1).
LEAVES = ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"]
ROOTS = [
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]


def test_the_roots_are_those_of_rfc_6962() -> None:
    """As others compute them, at every size."""
    tree = Tree()
    assert tree.root() == hashlib.sha256(b"").digest() == verifier.root_of([])
    for leaf, wanted in zip(LEAVES, ROOTS, strict=True):
        tree.append(bytes.fromhex(leaf))
        assert tree.root().hex() == wanted


@given(st.lists(st.binary(min_size=32, max_size=32), max_size=70))
def test_the_verifier_computes_the_same_root(links: list[bytes]) -> None:
    """Leaf by leaf here, level by level there."""
    assert root(links) == verifier.root_of(links)
