"""The way to a Qdrant server: its client, what can go wrong with it, and the collection of a model (design §6).

1. A deployment has one collection per model and revision. The alias `…-memories` names the one that counts.
2. While the alias says that another model counts, no collection is made but by a migration (`qdrant_migration`).
3. Whatever the server or the network refuses is `Unavailable`; a collection that is not there is `Missing`.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from typing import Any, NamedTuple

from qdrant_client import AsyncQdrantClient, models
from qdrant_client.common.client_exceptions import QdrantException
from qdrant_client.http.exceptions import ResponseHandlingException, UnexpectedResponse

from mnemolog.domain.errors import Unavailable
from projections.vectors_points import OWNER, TENANT, ModelMismatchError

GONE = "gone"
_INSTEAD = "instead of"
_OLDEST = (1, 17)
"""The first version that has both conditional upserts and updates of existing points only."""
_SLUG = 80
_VACUUM = models.OptimizersConfigDiff(deleted_threshold=0.01, vacuum_min_vector_number=100)
"""A segment is written anew without what was removed once that is a hundredth of it; Qdrant's default is a fifth."""


class Missing(Unavailable):
    """There is no such collection."""


class Collection(NamedTuple):
    """Where the vectors of a deployment and a model are."""

    app: str
    model: str
    dimension: int

    @property
    def name(self) -> str:
        """The collection's name: readable, and another for every model, revision and dimension."""
        digest = hashlib.sha256(f"{self.model}\n{self.dimension}".encode()).hexdigest()[:12]
        return f"{self.app}-{re.sub('[^A-Za-z0-9._-]+', '-', self.model)[:_SLUG]}-{digest}"

    @property
    def alias(self) -> str:
        """The name under which the collection is found that counts, whatever its model."""
        return f"{self.app}-memories"


def connect(url: str, key: str | None = None, *, seconds: int = 30, **options: Any) -> AsyncQdrantClient:
    """Return a client that waits so many seconds for an answer. Nothing is sent yet. `options` are httpx'."""
    # Its own look at the version is a thread that prints; `ensure` looks for itself, and refuses.
    return AsyncQdrantClient(url=url, api_key=key, timeout=seconds, check_compatibility=False, **options)


@contextmanager
def answered() -> Iterator[None]:
    """Raise what goes wrong with a request as our own errors."""
    try:
        yield
    except UnexpectedResponse as error:
        said = error.content.decode("utf-8", "replace")[:300]
        if error.status_code == HTTPStatus.NOT_FOUND:
            raise Missing(_missing(said)) from error
        if error.status_code in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}:
            message = f"Qdrant lets nobody in with this key; MNEMOLOG_QDRANT_KEY must be one that may write: {said}"
            raise Unavailable(message) from error
        message = f"Qdrant answers {error.status_code}: {said}"
        raise Unavailable(message) from error
    except ResponseHandlingException as error:
        message = f"Qdrant does not answer: {str(error.source) or type(error.source).__name__}"
        raise Unavailable(message) from error
    except QdrantException as error:
        message = f"Qdrant answers: {error}"
        raise Unavailable(message) from error
    except ValueError as error:  # the client's own imitation of a server says it so
        if "not found" not in str(error):
            raise
        raise Missing(_missing(str(error))) from error


def _missing(said: str) -> str:
    return f"Qdrant has no collection for this embedding model yet, or has lost it; a vectors worker fills it: {said}"


def completed(result: models.UpdateResult) -> None:
    """Make sure that a write is done. Raises Unavailable."""
    if result.status != models.UpdateStatus.COMPLETED:
        message = f"Qdrant has not finished a write in time ({result.status}); it is sent again"
        raise Unavailable(message)


async def ensure(client: AsyncQdrantClient, wanted: Collection) -> None:
    """Make the collection, its indexes and the alias, as far as they are not there.

    Raises ModelMismatchError if the collection that counts is another model's, and nobody migrates to this one.
    """
    with answered():
        _new_enough((await client.info()).version)
        named = await counting(client, wanted)
        if named not in {None, wanted.name} and not await client.collection_exists(wanted.name):
            message = (
                f"Qdrant's {wanted.alias} is the collection {named}, of another embedding model than {wanted.model}: "
                "give every worker and gateway the same MNEMOLOG_MODEL, or run `mnemolog vectors migrate`"
            )
            raise ModelMismatchError(message)
        await _create(client, wanted)
        if named is None:
            await client.update_collection_aliases([_naming(wanted)])


async def prepare(client: AsyncQdrantClient, wanted: Collection) -> None:
    """Make the collection beside the one that counts."""
    with answered():
        _new_enough((await client.info()).version)
        await _create(client, wanted)


async def counting(client: AsyncQdrantClient, wanted: Collection) -> str | None:
    """Return the name of the deployment's collection that counts; None if there is none."""
    with answered():
        aliases = (await client.get_aliases()).aliases
    return {alias.alias_name: alias.collection_name for alias in aliases}.get(wanted.alias)


async def count_from_now(client: AsyncQdrantClient, wanted: Collection, instead: str) -> None:
    """Let a collection count instead of another, from one moment to the next; remember which one it was."""
    with answered():
        await client.update_collection(wanted.name, metadata={_INSTEAD: instead})
        delete = models.DeleteAlias(alias_name=wanted.alias)
        await client.update_collection_aliases([models.DeleteAliasOperation(delete_alias=delete), _naming(wanted)])


async def drop_former(client: AsyncQdrantClient, wanted: Collection) -> str | None:
    """Drop the collection that counted before; return its name, None if there is none."""
    with answered():
        former = ((await client.get_collection(wanted.name)).config.metadata or {}).get(_INSTEAD)
        if former is None or not await client.collection_exists(former):
            return None
        await client.delete_collection(former)
    return str(former)


def _naming(wanted: Collection) -> models.CreateAliasOperation:
    return models.CreateAliasOperation(
        create_alias=models.CreateAlias(collection_name=wanted.name, alias_name=wanted.alias)
    )


async def _create(client: AsyncQdrantClient, wanted: Collection) -> None:
    """Make the collection. Another worker may be making the same at the same time: every step may be repeated."""
    try:
        if not await client.collection_exists(wanted.name):
            await client.create_collection(
                wanted.name,
                vectors_config=models.VectorParams(size=wanted.dimension, distance=models.Distance.COSINE),
                optimizers_config=_VACUUM,
                metadata={"model": wanted.model, "dimension": wanted.dimension},
            )
    except UnexpectedResponse as error:
        if error.status_code != HTTPStatus.CONFLICT:
            raise
    keyword, whole = models.KeywordIndexType.KEYWORD, models.IntegerIndexType.INTEGER
    for field, schema in (
        (TENANT, models.KeywordIndexParams(type=keyword, is_tenant=True)),
        (OWNER, models.KeywordIndexParams(type=keyword)),
        (GONE, models.IntegerIndexParams(type=whole, range=True, lookup=False)),
    ):
        completed(await client.create_payload_index(wanted.name, field, schema, wait=True))


def _new_enough(version: str) -> None:
    found = re.match(r"(\d+)\.(\d+)", version)
    if found is None or tuple(map(int, found.groups())) < _OLDEST:
        wanted = ".".join(map(str, _OLDEST))
        message = f"Qdrant {version} is too old: conditional writes came with {wanted}"
        raise Unavailable(message)
