"""The operator's hand on the deployment that the settings name."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager

from mnemolog.runtime.config import Settings
from mnemolog.runtime.operator import Operator


def operator(settings: Settings) -> AbstractAsyncContextManager[Operator]:
    """Take the deployment of the settings in hand."""
    if settings.runtime == "kafka":
        from mnemolog.runtime.remote import RemoteOperator

        return RemoteOperator(settings)
    from mnemolog.runtime.local import LocalOperator

    return LocalOperator(settings)
