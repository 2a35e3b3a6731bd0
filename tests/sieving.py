"""An embedded index whose searches always go through a sieve, however few vectors there are."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

import pytest

from mnemolog.domain.ports import Hit, Scope
from projections import edge_sieves, vectors_edge
from projections.vectors_edge import EdgeVectors


class Sieved(EdgeVectors):
    """Answers once a sieve has been made, by it."""

    async def search(self, scope: Scope, vector: Sequence[float], top: int) -> Sequence[Hit]:
        """Search in vain, so that a sieve is made, and then with it."""
        await super().search(scope, vector, top)
        await asyncio.to_thread(made, self)
        return await super().search(scope, vector, top)


def vectors(folder: Path, model: str, dimension: int, monkeypatch: pytest.MonkeyPatch) -> Sieved:
    """Return an index that finds each owner worth a sieve, and each sieve worth being asked."""
    monkeypatch.setattr(edge_sieves, "OFTEN", 1)
    monkeypatch.setattr(edge_sieves, "WORTH", 1)
    monkeypatch.setattr(vectors_edge, "WORTH", 0)
    monkeypatch.setattr(vectors_edge, "_ID", 0)
    return Sieved.open(folder, model=model, dimension=dimension)


def made(index: EdgeVectors) -> None:
    """Wait until every sieve that has been asked for is made."""
    index._sieves._maker.submit(int).result()
