"""What a search answers is the model's plain cosine, and nothing else (design §6, contract §4)."""

from __future__ import annotations

import numpy as np
import pytest
from sap_cloud_sdk.agent_memory import AgentMemoryClient

from projections.embedding import SentenceTransformerEmbedder

pytestmark = pytest.mark.sdk
WHO = ("agent", "invoker")
TEXTS = (
    "Trains cross bridges",
    "Clouds block sunlight",
    "Rivers carve valleys",
    "Wolves hunt deer",
    "Engines power ships",
    "The user loves dark mode and dark themes",
    "The user prefers dark mode and metric units.",
    "User last asked about display settings on 2025-01-10.",
    "Die Nutzerin wohnt in Köln und mag Käse.",
    "東京は日本の首都です",
    "x",
    "A story that fills most of the model's window. " * 20,
    "🦄",
    "SELECT * FROM users; -- ' OR 1=1",
)
QUERIES = (
    "Sky illumination",
    "dark mode preference",
    "What are the user's display preferences?",
    "Wo wohnt die Nutzerin?",
)


@pytest.mark.parametrize(
    ("content", "query", "similarity"),
    [
        ("The user loves dark mode and dark themes", "dark mode preference", 0.76),
        ("Clouds block sunlight", "Sky illumination", 0.52),
        ("The user prefers dark mode and metric units.", "What are the user's display preferences?", 0.46),
        ("User last asked about display settings on 2025-01-10.", "What are the user's display preferences?", 0.68),
    ],
)
def test_known_pairs_have_their_known_similarity(
    sap: AgentMemoryClient, content: str, query: str, similarity: float
) -> None:
    """The pairs that were measured with the model (contract §4) come out as measured."""
    sap.add_memory(*WHO, content)
    (hit,) = sap.search_memories(*WHO, query, threshold=0.0)
    assert hit.similarity == pytest.approx(similarity, abs=0.01)
    assert len(sap.search_memories(*WHO, query, threshold=0.6)) == (similarity >= 0.6)
    assert len(sap.search_memories(*WHO, query, threshold=0.3)) == 1


def test_similarities_and_ranks_equal_those_of_brute_force(sap: AgentMemoryClient) -> None:
    """Sentence-transformers' own vectors, multiplied here, give the same; a cosine below 0 is answered as 0."""
    model = SentenceTransformerEmbedder("all-MiniLM-L6-v2")._model
    texts = np.asarray(model.encode(list(TEXTS), normalize_embeddings=True), dtype=np.float64)
    queries = np.asarray(model.encode(list(QUERIES), normalize_embeddings=True), dtype=np.float64)
    for text in TEXTS:
        sap.add_memory(*WHO, text)
    for query, row in zip(QUERIES, queries @ texts.T, strict=True):
        expected = {text: max(float(score), 0.0) for text, score in zip(TEXTS, row, strict=True)}
        found = sap.search_memories(*WHO, query, threshold=0.0, limit=50)
        assert {hit.content: hit.similarity for hit in found} == pytest.approx(expected, abs=1e-5)
        ranks = sorted((text for text in TEXTS if expected[text] > 0), key=lambda text: -expected[text])
        assert [hit.content for hit in found][: len(ranks)] == ranks
