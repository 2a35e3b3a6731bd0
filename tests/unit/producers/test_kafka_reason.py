"""Why Kafka could not be reached, from what its client only logs."""

from __future__ import annotations

import logging

import pytest
from kafka.errors import KafkaConnectionError, KafkaTimeoutError, SaslAuthenticationFailedError

from producers import Away, NotAllowed
from producers.kafka_reason import opening

pytestmark = pytest.mark.unit
LOG = logging.getLogger("kafka.net.manager")
GIVEN_UP = KafkaTimeoutError("Unable to bootstrap")


def fails(*told: Exception) -> None:
    """Fail as the client does: it logs what it was told at each try, then that its time is over."""
    with opening("kafka:9092"):
        for error in told:
            LOG.warning("Bootstrap connection to %s failed: %s (backoff %.2f secs)", "bootstrap-0", error, 0.1)
        LOG.error("Bootstrap failed: %s", GIVEN_UP)
        raise GIVEN_UP


def test_a_refused_login_is_told_whatever_comes_after_it() -> None:
    """The broker hangs up on the next tries without a word: that says less."""
    refused = SaslAuthenticationFailedError("invalid credentials")
    for told in [(refused,), (KafkaConnectionError("away"), refused, KafkaConnectionError("hung up"))]:
        with pytest.raises(NotAllowed, match=r"refuses this login.*invalid credentials"):
            fails(*told)


def test_another_reason_is_told_and_the_listening_ends() -> None:
    """With what to look at; without any reason, the client's own error."""
    with pytest.raises(Away, match=r"does not answer: .*certificate verify failed.*wants TLS or a login"):
        fails(KafkaConnectionError("certificate verify failed"))
    with pytest.raises(Away, match="Unable to bootstrap"):
        fails()
    assert not LOG.handlers
