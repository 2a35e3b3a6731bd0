"""The HTTP face: one ASGI app that both published client SDKs can use unmodified.

It receives ports (`mnemolog.domain.reads`) and knows neither a log nor a store.
"""

from __future__ import annotations

from mnemolog.gateway.app import create_app
from mnemolog.gateway.settings import FaceSettings

__all__ = ["FaceSettings", "create_app"]
