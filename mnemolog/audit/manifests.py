"""Manifests of what is written to files: JSON with a name of the format, and the fields of a dataclass with slots."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from mnemolog.domain import canonical
from mnemolog.domain.errors import Malformed

Manifest = TypeVar("Manifest")


def manifest_text(form: str, manifest: Any) -> bytes:
    """Return a manifest as it stands in its file."""
    return canonical.canonical({"format": form, **{name: getattr(manifest, name) for name in manifest.__slots__}})


def parsed_manifest(form: str, made: Callable[..., Manifest], raw: bytes) -> Manifest:
    """Read a manifest of this format. Raises Malformed for any other."""
    try:
        said = canonical.loads(raw)
        kind = said.pop("format")
        if kind == form:
            return made(**said)
    except (ValueError, TypeError, KeyError, AttributeError):
        kind = "something else"
    message = f"the manifest is of {kind}; this version reads {form}"
    raise Malformed(message)
