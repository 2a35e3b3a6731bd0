"""What the libraries of this process would tell their makers, and may not: a closed network has nobody to tell."""

from __future__ import annotations

import os


def silence() -> None:
    """Keep ONNX Runtime from telling its makers of this process; from its import on it would (since 1.29)."""
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
