"""`Publisher` over a transport in memory: receipts, outcomes, what is lost, and what its options lead to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from mnemolog.domain.catalogue import COMMANDS
from mnemolog.domain.ids import make_id
from mnemolog.domain.outcomes import Accepted, Outcome
from mnemolog.domain.record import Position
from producers import ABSENT, Away, Invalid, Late, NotPublished, Placed, Publisher, Receipt
from producers.wishes import Wish
from tests.publishing import InSession

pytestmark = pytest.mark.unit
SPACE, SESSION = (make_id(1_795_000_000_000_000, 7, bytes(32), n) for n in (0, 1))
EVENT = {"body": {"content": "hi"}, "emitter": {"type": "user", "id": "u"}}
IN_SESSION: InSession = {"user": "u", "space_id": SPACE, "session_id": SESSION}


class Told:
    """An answer that is there, or an error in its place."""

    def __init__(self, placed: Placed | Away) -> None:
        self._placed = placed

    def placed(self) -> Placed:
        """Return it."""
        if isinstance(self._placed, Away):
            raise self._placed
        return self._placed

    def settled(self, seconds: float) -> bool:
        """Say yes."""
        del seconds
        return True


class Memory:
    """A transport that keeps what it is given."""

    def __init__(self) -> None:
        self.wishes: list[Wish] = []
        self.lost: list[Receipt] = []
        self.closed = False
        self.hears = True

    def send(self, wish: Wish) -> Receipt:
        """Keep a wish."""
        self.wishes.append(wish)
        return Receipt(wish.key or "id", Told(Placed(wish.key or "id", "t", 0, len(self.wishes) - 1, 7)))

    def flush(self) -> Sequence[Receipt]:
        """Return what is said to be lost."""
        lost, self.lost = self.lost, []
        return lost

    def listen(self, receipts: Sequence[Receipt], deadline: float) -> None:
        """Accept everything."""
        del deadline
        for receipt in receipts if self.hears else ():
            receipt.tell(accepted(receipt.placed().offset, receipt.id))

    def close(self) -> None:
        """Note it."""
        self.closed = True


def accepted(offset: int, identifier: str = "id") -> Outcome:
    """Return the acceptance of the command at an offset."""
    return Outcome(identifier, Accepted(()), Position(0, offset + 1), Position(0, offset))


def test_there_is_a_method_for_every_command_of_an_agent() -> None:
    """All but credentials, the operator's, and erasure's ranges, a worker's; each is well-formed."""
    transport = Memory()
    p = Publisher(transport)
    p.create_space(user="u", description="d", deduplication_key="k")
    p.update_space(user="u", space_id=SPACE, description=None)
    p.delete_space(user="u", space_id=SPACE)
    p.create_session(user="u", space_id=SPACE, participant="u", metadata={"a": 1})
    p.update_session(**IN_SESSION, version=1, metadata=None)
    p.delete_session(**IN_SESSION)
    p.append_events(**IN_SESSION, events=[EVENT])
    p.update_events(**IN_SESSION, changes=[{"sequence_id": 0, "type": "note"}])
    p.delete_event(**IN_SESSION, sequence=0)
    p.add_memory(agent="a", invoker="i", content="c")
    p.update_memory(memory_id=SPACE, content="c")
    p.delete_memory(memory_id=SPACE)
    p.add_message(agent="a", invoker="i", group="g", role="USER", content="c")
    p.delete_message(message_id=SPACE)
    p.set_retention(memory_days=None)
    p.complete_extraction(**IN_SESSION)
    said = [wish.command.TYPE for wish in transport.wishes]
    others = ("access.", "erasure.", "owner.", "retention.", "session.execute-strategy.")
    assert said == [kind for kind in COMMANDS if not kind.startswith(others)]


def test_absent_differs_from_null() -> None:
    """What is not given is not sent; None clears."""
    transport = Memory()
    p = Publisher(transport)
    p.update_space(user="u", space_id=SPACE, description=None, llm_model_name="m")
    p.update_memory(memory_id=SPACE, content="c", metadata=ABSENT)
    p.set_retention(memory_days=None, message_days=3)
    p.create_session(user="u", space_id=SPACE, participant="u")
    assert [list(wish.parts) for wish in transport.wishes] == [
        [{"description": None, "llm_model_name": "m"}],
        [{"content": "c"}],
        [{"message_days": 3, "memory_days": None}],
        [{"participants": ["u"]}],
    ]
    with pytest.raises(Invalid, match="give content or metadata"):
        p.update_memory(memory_id=SPACE)


def test_each_of_two_commands_with_one_id_has_its_own_outcome() -> None:
    """An outcome belongs to the command at its source, in whichever order the outcomes are heard."""
    older, newer = (Receipt("id", Told(Placed("id", "t", 0, offset, 7))) for offset in (3, 5))
    newer.after(older)
    assert older.outcome() is None
    newer.tell(accepted(5))
    assert (older.outcome(), newer.outcome()) == (None, accepted(5))
    newer.tell(accepted(3))
    assert [one.outcome().source for one in (older, newer)] == [Position(0, 3), Position(0, 5)]  # type: ignore[union-attr]


def test_outcomes_come_in_the_order_of_the_receipts_and_late_ones_are_named() -> None:
    """`Late` holds what is known."""
    transport = Memory()
    p = Publisher(transport)
    receipts = [p.add_memory(agent="a", invoker="i", content="c", key=f"k{n}") for n in range(3)]
    assert [o.command for o in p.outcomes(list(reversed(receipts)))] == ["k2", "k1", "k0"]
    transport.hears = False
    late = p.add_memory(agent="a", invoker="i", content="c", key="late")
    with pytest.raises(Late, match=r"1 of 2 outcomes have not come within 0\.01 s") as error:
        p.outcomes([receipts[0], late], 0.01)
    assert list(error.value.known) == [receipts[0]]


def test_what_could_not_be_published_is_never_swallowed() -> None:
    """`flush` and the end of `with` raise it, once; the connection is closed all the same."""
    transport = Memory()
    with pytest.raises(NotPublished, match="under the same keys is safe") as error, Publisher(transport) as p:
        transport.lost = [p.add_memory(agent="a", invoker="i", content="c")]
    assert error.value.receipts[0].id == "id"
    assert transport.closed
    p.flush()


def test_an_error_inside_is_not_hidden_by_another() -> None:
    """Who leaves `with` by an error gets that error."""
    transport = Memory()
    transport.lost = [Publisher(transport).add_memory(agent="a", invoker="i", content="c")]
    with pytest.raises(KeyError), Publisher(transport):
        raise KeyError
    assert transport.closed


@pytest.mark.parametrize(
    ("server", "options", "says"),
    [
        ("localhost:9092", {"tenant": "acme"}, "as which actor"),
        ("localhost:9092", {"actor": "agent/x"}, "for which tenant"),
        ("http://localhost:8080", {"security_protocol": "SSL"}, "options of Kafka"),
        ("http://", {}, "is not the address of a server"),
        ("http://user:pw@host", {}, "is not the address of a server"),
    ],
)
def test_wrong_options_say_what_is_missing(server: str, options: dict[str, Any], says: str) -> None:
    """Before anything is connected."""
    with pytest.raises(Invalid, match=says):
        Publisher(server, **options)


def test_a_kafka_that_is_away_is_named() -> None:
    """Nobody listens there: the error names the servers and what to look at."""
    with pytest.raises(Away, match=r"127.0.0.1:1 does not answer.*look whether it runs"):
        Publisher("127.0.0.1:1", tenant="acme", actor="agent/x", bootstrap_timeout_ms=300)
