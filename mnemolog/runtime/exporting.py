"""The export of an embedding model beside a running server, whose searches go on with PyTorch until it is done.

1. It is made by a process of its own, of the lowest priority: neither its work nor its memory is the server's.
2. That process ends with the server, however the server ends: it reads a pipe that only the server holds.
3. Once the export is there and verified, queries and indexing go over to it, between two calls. The vectors are the
   same, so nothing is indexed again. The next start imports no torch at all.
4. A refusal or a failure is logged with its reason, and PyTorch goes on.
"""

from __future__ import annotations

import argparse
import logging
import os
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

from mnemolog.domain.errors import Unavailable
from mnemolog.domain.ports import Embedder
from mnemolog.runtime.config import BadConfiguration, Settings
from mnemolog.runtime.telemetry import silence
from projections.embedding_onnx import OnnxEmbedder, Unusable
from projections.onnx_export import Refused, export

_log = logging.getLogger(__name__)
_LOWEST = 19


class Exporting:
    """Port `Embedder`: the one that it is given, and the exported model as soon as there is one."""

    def __init__(self, settings: Settings, embedder: Embedder) -> None:
        """Start to export."""
        self._model = settings.model
        self._embedder = embedder
        self._stopped = False
        command = [sys.executable, "-m", "mnemolog.runtime.cli", "models", "export", "--attached"]
        self._process = subprocess.Popen(  # noqa: S603 -- our own command
            [*command, "--model", settings.model, "--models", str(settings.exported)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            start_new_session=True,  # an interrupt at the terminal is the server's alone
        )
        self._thread = threading.Thread(target=self._follow, name="mnemolog-export")
        self._thread.start()

    @property
    def model(self) -> str:
        """The model's name and revision."""
        return self._embedder.model

    @property
    def dimension(self) -> int:
        """The length of every vector."""
        return self._embedder.dimension

    def embed(self, texts: Sequence[str]) -> Sequence[Sequence[float]]:
        """Embed with whichever is there."""
        return self._embedder.embed(texts)

    def stop(self) -> None:
        """End the export, if it is still being made. A second time does nothing."""
        self._stopped = True
        self._process.kill()
        self._thread.join()

    def _follow(self) -> None:
        """Wait for the export and go over to it."""
        with self._process as process:  # not `communicate`, which would close the pipe that keeps it alive
            said = process.stdout.read() if process.stdout else ""
            code = process.wait()
        if self._stopped:
            return
        if code:
            reason = said.strip() or f"its export ended with {code}"
            _log.warning("the embedding model %s stays on PyTorch: %s", self._model, reason)
            return
        try:
            exported = OnnxEmbedder(Path(said.strip()))
        except Unusable as error:
            _log.warning("the embedding model %s stays on PyTorch: %s", self._model, error)
            return
        if (exported.model, exported.dimension) != (self.model, self.dimension):
            _log.warning("the embedding model %s stays on PyTorch: exported was %s", self.model, exported.model)
            return
        self._embedder = exported
        _log.info("the embedding model %s runs on ONNX Runtime from now on", self.model)


def run(settings: Settings, options: argparse.Namespace) -> int:
    """Do what `mnemolog models export` asks; return the exit code. Raises Unavailable, BadConfiguration."""
    model = options.model or settings.model
    if model == "hashing":  # no hub is asked for a model of that name
        message = "MNEMOLOG_MODEL (or --model) is `hashing`, which is computed and has nothing to export; name a model"
        raise BadConfiguration(message)
    silence()
    if options.attached:
        os.nice(_LOWEST)
        threading.Thread(target=_end_with_the_pipe, daemon=True).start()
    try:
        sys.stdout.write(f"{export(model, settings.exported)}\n")
    except (Refused, OSError) as error:
        if not options.attached:
            message = f"{model} stays on PyTorch: {error}"
            raise Unavailable(message) from error
        sys.stdout.write(f"{error}\n")
        return 1
    return 0


def _end_with_the_pipe() -> None:
    """End this process when whoever started it has gone."""
    sys.stdin.read()
    os._exit(1)
