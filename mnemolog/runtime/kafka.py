"""The distributed runtime's composition: which Kafka the settings name, and how its client is set up."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from aiokafka.producer import sender
from redis.asyncio import Redis

from mnemolog.domain.errors import MnemologError
from mnemolog.runtime.config import BadConfiguration, Settings
from mnemolog.runtime.folder import now
from mnemolog.runtime.secured import kafka_options, redis_options
from projections.redis_files import RedisFiles
from projections.redis_wire import connect
from projections.store_redis import RedisStore
from workers.kafka_cluster import Cluster

_BACKOFF = "BACKOFF_OVERRIDE"
_SECONDS = 0.001


def cluster(settings: Settings) -> Cluster:
    """Return the cluster that the settings name. Raises BadConfiguration."""
    if not settings.kafka:
        message = "MNEMOLOG_KAFKA must name Kafka's bootstrap servers, host:port, separated by commas"
        raise BadConfiguration(message)
    return Cluster(settings.kafka, settings.partitions, settings.topic_prefix, options=kafka_options(settings))


def store(settings: Settings, dropping: Callable[[], Awaitable[None]] | None = None) -> RedisStore:
    """Return the store that the settings name, on a client of its own. Raises BadConfiguration.

    Whoever projects has `dropping` told when rows go (`redis_files`).
    """
    return RedisStore(redis(settings), app=deployment(settings), dropping=dropping)


def redis_files(settings: Settings) -> RedisFiles:
    """Return the files of that Redis, on a client of their own. Raises BadConfiguration."""
    return RedisFiles(redis(settings), now, app=deployment(settings), pause=settings.redis_rewrite)


def deployment(settings: Settings) -> str:
    """Return the name under which a deployment has its keys in Redis: two on one Redis differ, as their topics do."""
    return f"{settings.topic_prefix}mnemolog"


def redis(settings: Settings) -> Redis:
    """Return a client of the Redis that the settings name. Raises BadConfiguration."""
    try:
        return connect(settings.redis, **redis_options(settings))
    except ValueError as error:
        message = f"MNEMOLOG_REDIS must be a URL of Redis, like redis://127.0.0.1:6379/0: {error}"
        raise BadConfiguration(message) from None


def prepare_client() -> None:
    """Set what the Kafka client has no setting for; every process calls it before it opens a log.

    It waits 1 ms instead of 20 between two transactions. The broker answers the end of a transaction before its markers
    are written, and tells the next one to come again; the client then sleeps a constant of its module. If a later
    client has it no more, this must be looked at anew.
    """
    if not isinstance(getattr(sender, _BACKOFF, None), float):
        message = f"aiokafka.producer.sender.{_BACKOFF} is gone: this version of aiokafka has not been measured"
        raise MnemologError(message)
    setattr(sender, _BACKOFF, _SECONDS)
