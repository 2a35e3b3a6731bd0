"""Answers that both SDKs read: JSON with a bare `Content-Type`, never an empty error (wire contract G1, G2)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from starlette.responses import Response

from mnemolog.domain import canonical

JSON = "application/json"


def answer(value: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """Return a JSON response."""
    return Response(canonical.dumps(value), status, headers, media_type=JSON)


def nothing() -> Response:
    """Return the answer to a deletion."""
    return Response(status_code=204)
