"""`mnemolog vectors recall`: what the Qdrant server's own index finds of what is truly nearest."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict

from mnemolog.runtime.config import BadConfiguration, Settings
from mnemolog.runtime.kafka import deployment
from mnemolog.runtime.loading import load_embedder
from mnemolog.runtime.vectors import connected
from projections.qdrant_recall import recalls
from projections.qdrant_wire import Collection
from projections.vectors_qdrant import EXACT_UP_TO


async def run(settings: Settings, options: argparse.Namespace) -> int:
    """Do what the command line asks; return the exit code. Raises BadConfiguration, Unavailable."""
    if not settings.qdrant:
        message = "MNEMOLOG_QDRANT names no Qdrant server: the index in a server's own process is always exact"
        raise BadConfiguration(message)
    embedder = load_embedder(settings)
    collection = Collection(deployment(settings), embedder.model, embedder.dimension)
    client = connected(settings)
    try:
        found = await recalls(client, collection, samples=options.samples)
    finally:
        await client.close()
    if options.json:
        sys.stdout.write(json.dumps([asdict(one) for one in found]) + "\n")
        return 0
    for one in found:
        how = "searched exactly" if settings.search_exact or one.memories <= EXACT_UP_TO else "searched by the index"
        sys.stdout.write(
            f"{one.memories:>12,} memories, {how}: the index finds {one.near:.1%} near the data,"
            f" {one.between:.1%} between\n"
        )
    return 0
