"""The embedding model and the vector index, which take seconds to load: until then, whoever asks is refused."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Protocol, runtime_checkable

from mnemolog.domain.errors import Unavailable
from mnemolog.domain.ports import Embedder, Hit, Point, Scope, Vectors
from mnemolog.runtime.config import Settings
from mnemolog.runtime.telemetry import silence

_log = logging.getLogger(__name__)


def load_embedder(settings: Settings) -> Embedder:
    """Load the embedding model that the settings name: its export, or on PyTorch where there is none."""
    from projections.embedding import HashingEmbedder, SentenceTransformerEmbedder

    if settings.model == "hashing":
        return HashingEmbedder()
    silence()
    return _exported(settings) or SentenceTransformerEmbedder(settings.model)


def serving_embedder(settings: Settings) -> Embedder:
    """Load it for a process that stays: where there is no export yet, one is made beside it, and takes over."""
    embedder = load_embedder(settings)
    if settings.embedder != "onnx" or not _without_export(embedder):
        return embedder
    from mnemolog.runtime.exporting import Exporting
    from projections.onnx_export import folder_for, refusal

    reason = refusal(folder_for(settings.model, settings.exported))
    if reason is not None:
        _log.warning("the embedding model %s stays on PyTorch: %s", settings.model, reason)
        return embedder
    return Exporting(settings, embedder)


def _exported(settings: Settings) -> Embedder | None:
    """Load the model's export, if it is there and as good as the original."""
    if settings.embedder != "onnx":
        return None
    from projections.embedding_onnx import OnnxEmbedder, Unusable
    from projections.onnx_export import folder_for

    folder = folder_for(settings.model, settings.exported)
    if not folder.is_dir():
        return None
    try:
        return OnnxEmbedder(folder)
    except Unusable as error:
        _log.warning("the embedding model is loaded on PyTorch: %s", error)
        return None


def _without_export(embedder: Embedder) -> bool:
    from projections.embedding import SentenceTransformerEmbedder

    return isinstance(embedder, SentenceTransformerEmbedder)


@runtime_checkable
class Stops(Protocol):
    """An embedder that has something under way."""

    def stop(self) -> None:
        """End it."""
        ...


def stopped(embedder: Embedder) -> None:
    """End what an embedder may have under way."""
    if isinstance(embedder, Stops):
        embedder.stop()


@runtime_checkable
class Scrubs(Protocol):
    """An index whose engine keeps what was erased for a while."""

    async def scrub(self) -> bool:
        """Push it out, if there is anything and it is time; True if that was done now."""
        ...


class Loading:
    """Stands in for an embedder and an index: the ports `Embedder` and `Vectors`."""

    def __init__(self, how: Callable[[], tuple[Embedder, Vectors]]) -> None:
        """Take how they are loaded."""
        self._how = how
        self._loaded: tuple[Embedder, Vectors] | None = None
        self.failed: str | None = None

    def load(self) -> None:
        """Load them, on the caller's thread; what fails is told to whoever asks, and writes go on."""
        try:
            self._loaded = self._how()
        except Exception as error:  # noqa: BLE001 -- searches say so
            self.failed = f"the embedding model or the vector index cannot be loaded: {error}"
            _log.exception("search is not available")

    @property
    def ready(self) -> bool:
        """Whether they are loaded."""
        return self._loaded is not None

    def trouble(self) -> dict[str, str]:
        """Return what stands in the way of searches, as a server's readiness says it."""
        return {} if self.ready else {"search": self.failed or "the embedding model is being loaded"}

    def embed(self, texts: Sequence[str]) -> Sequence[Sequence[float]]:
        """Embed. Raises Unavailable while the model is being loaded."""
        return self._both()[0].embed(texts)

    @property
    def model(self) -> str:
        """The model's name and revision."""
        return self._both()[0].model

    @property
    def dimension(self) -> int:
        """The length of every vector."""
        return self._both()[0].dimension

    async def scrub(self) -> bool:
        """Let an engine that keeps erased vectors in a log of its own push them out; True if that was done now."""
        vectors = self._both()[1]
        return await vectors.scrub() if isinstance(vectors, Scrubs) else False

    async def search(self, scope: Scope, vector: Sequence[float], top: int) -> Sequence[Hit]:
        """Search. Raises Unavailable while the index is being opened."""
        return await self._both()[1].search(scope, vector, top)

    async def checkpoint(self, partition: int) -> int | None:
        """Return the next fact offset to index."""
        return await self._both()[1].checkpoint(partition)

    async def apply(self, partition: int, points: Sequence[Point], gone: Sequence[str], checkpoint: int) -> None:
        """Change the index."""
        await self._both()[1].apply(partition, points, gone, checkpoint)

    async def count(self) -> int:
        """Return how many points are stored."""
        return await self._both()[1].count()

    async def close(self) -> None:
        """Close the index, if it was ever opened, and end what the embedder has under way."""
        if self._loaded is not None:
            stopped(self._loaded[0])
            await self._loaded[1].close()

    def _both(self) -> tuple[Embedder, Vectors]:
        if self._loaded is None:
            message = self.failed or "the embedding model is still being loaded; try again shortly"
            raise Unavailable(message)
        return self._loaded
