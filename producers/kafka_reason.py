"""Why Kafka could not be reached: kafka-python tries again until its time is over, and only logs what it was told.

So whoever opens a client listens to that log meanwhile: a wrong password is no server that is away.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from kafka.errors import KafkaError, KafkaTimeoutError, SaslAuthenticationFailedError, UnsupportedSaslMechanismError

from producers.errors import Away, NotAllowed, PublishError

_LOGGER = logging.getLogger("kafka.net.manager")
_LOGINS = (SaslAuthenticationFailedError, UnsupportedSaslMechanismError)


class _Listening(logging.Handler):
    """Keeps the newest error that the client logs."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.told: BaseException | None = None

    def emit(self, record: logging.LogRecord) -> None:
        """Keep the error of a log record; what is said after a refused login says less, and so does the time's end."""
        for one in record.args if isinstance(record.args, tuple) else ():
            if isinstance(one, Exception) and not isinstance(one, KafkaTimeoutError) and not _refuses(self.told):
                self.told = one


@contextmanager
def opening(servers: str) -> Iterator[None]:
    """Open a client inside. Raises NotAllowed where the login was refused, else Away with the client's reason."""
    listening = _Listening()
    _LOGGER.addHandler(listening)
    try:
        yield
    except KafkaError as error:
        raise _named(servers, error, listening.told) from error
    finally:
        _LOGGER.removeHandler(listening)


def _named(servers: str, error: KafkaError, told: BaseException | None) -> PublishError:
    why = repr(error) if told is None else str(told)
    if _refuses(told):
        return NotAllowed(
            f"Kafka at {servers} refuses this login: {why}; check sasl_mechanism, sasl_plain_username and the password"
        )
    return Away(
        f"Kafka at {servers} does not answer: {why}; look whether it runs, is reached from here, and wants TLS or a"
        " login"
    )


def _refuses(told: BaseException | None) -> bool:
    """Tell whether an error is, or wraps, the refusal of a login."""
    return isinstance(told, _LOGINS) or any(kind.__name__ in str(told) for kind in _LOGINS)
