"""The sequencer's core: a batch of command records in, one transaction out. No I/O of its own.

1. Each command is decided against the state as the commands before it left it.
2. The transaction holds everything that the batch leaves behind: facts, outcomes, null records for what was erased,
   dead letters, and the control record where the last command left no fact to say how far all is decided (design §4).
3. A record that cannot be read, or whose decision fails in a way that nobody foresaw, becomes a rejected outcome and a
   dead letter; it never blocks the partition (guarantee 10). A state that cannot be read is no command's fault: the
   batch fails, and nothing of it is decided.
"""

from __future__ import annotations

import logging
import traceback
from collections.abc import Sequence

from mnemolog.domain.codec import Envelope, decode_command, encode_outcome
from mnemolog.domain.decider import decide
from mnemolog.domain.erasure import Erased
from mnemolog.domain.errors import Corrupt, Malformed, Unavailable
from mnemolog.domain.fact import Fact
from mnemolog.domain.fold import evolve
from mnemolog.domain.ids import partition_of
from mnemolog.domain.outcomes import Accepted, Landed, Outcome, Reason, Rejected
from mnemolog.domain.record import CommandRecord, DeadLetter, FactRecord, OutcomeRecord, Position, Transaction
from mnemolog.domain.rules import Rules
from mnemolog.domain.streams import fact_key
from workers.foresight import foresee
from workers.state import State

_log = logging.getLogger(__name__)


class Sequencer:
    """Decides for one partition. After an error of the transaction it is thrown away with its state."""

    def __init__(self, state: State, rules: Rules, *, partition: int = 0, partitions: int = 1) -> None:
        """Take a state that has been folded to the end of the facts."""
        self.state = state
        self._rules = rules
        self._partition = partition
        self._partitions = partitions

    def sequence(self, records: Sequence[CommandRecord]) -> Transaction:
        """Decide a batch: records in the order of their offsets, none of them decided before."""
        batch, state = _Batch(), self.state
        read = [_read(record) for record in records]
        foresee(state, records, [one for one in read if isinstance(one, Envelope)])
        for record, one in zip(records, read, strict=True):
            self._one(record, one, batch)
        last = str(Position(state.position.epoch, state.position.offset - 1))
        return Transaction(
            state.position,
            state.last_command,
            control=not batch.facts or batch.facts[-1].headers["source"] != last,
            facts=tuple(batch.facts),
            outcomes=tuple(batch.outcomes),
            tombstones=tuple(batch.tombstones),
            forget=tuple(batch.forget),
            dead_letters=tuple(batch.dead_letters),
        )

    def marked(self) -> Transaction:
        """Return a transaction that holds the control record alone: up to where all is decided."""
        return Transaction(self.state.position, self.state.last_command, control=True)

    def _one(self, record: CommandRecord, read: Envelope | Exception, batch: _Batch) -> None:
        state = self.state
        source = Position(state.position.epoch, record.offset)
        seen = state.position
        result = self._decided(record, read, source, batch)
        state.position = Position(source.epoch, record.offset + 1)
        state.last_command = record.headers.get("ce_id", "")
        if result is None:
            return
        if isinstance(result, list):
            for fact, fact_record in result:
                self._bury(fact, batch)
                state.apply(evolve(state, fact))
                batch.facts.append(fact_record)
            landed = tuple(Landed(f.stream, f.version, f.subject, f.time) for f, _ in result)
            result, seen = Accepted(landed), state.position
        elif isinstance(result, Accepted) and self._erased_since(record):
            batch.forget.append(state.last_command)
        batch.outcomes.append(encode_outcome(Outcome(state.last_command, result, seen, source)))

    def _decided(
        self, record: CommandRecord, read: Envelope | Exception, source: Position, batch: _Batch
    ) -> list[tuple[Fact, FactRecord]] | Accepted | Rejected | None:
        """Decide one record; None if nobody can be told, because it names no command."""
        told = bool(record.headers.get("ce_id"))
        try:
            return self._decision(read, record.time, source)
        except Malformed as error:
            batch.dead_letters.append(_dead(self._partition, source, str(error)))
            return Rejected(Reason.MALFORMED, str(error)) if told else None
        except (Unavailable, Corrupt):  # the state cannot be read, whatever the command says
            raise
        except Exception as error:  # noqa: BLE001 -- whatever it is, the partition goes on
            # Type and places only: an error's own text may quote the caller's.
            places = "".join(traceback.format_tb(error.__traceback__))
            _log.error("the command at %s could not be decided: %s\n%s", source, type(error).__name__, places)
            batch.dead_letters.append(_dead(self._partition, source, type(error).__name__))
            return Rejected(Reason.MALFORMED, "the command could not be decided; it was set aside") if told else None

    def _decision(
        self, read: Envelope | Exception, at: int, source: Position
    ) -> list[tuple[Fact, FactRecord]] | Accepted | Rejected:
        if isinstance(read, Exception):
            raise read
        if partition_of(read.slot, self._partitions) != self._partition:
            return Rejected(Reason.MISROUTED, f"slot {read.slot} belongs to another partition")
        return decide(self.state, read, at, source, self._rules)

    def _erased_since(self, record: CommandRecord) -> bool:
        """Tell whether something that a repeated command brought has been erased: the repeat brings it again."""
        acceptance = self.state.acceptance(int(record.key), self.state.last_command)
        return acceptance is not None and not all(fact.of for fact in acceptance.facts)

    def _bury(self, fact: Fact, batch: _Batch) -> None:
        """Note what an erasure takes; before the fold, which lets go of which commands wrote it."""
        if isinstance(fact.payload, Erased):
            versions = [gone.version for gone in fact.payload.took]
            batch.tombstones.extend(fact_key(fact.stream, version) for version in versions)
            batch.forget.extend(w.command for w in self.state.written_versions(fact.stream, versions))


class _Batch:
    """What accumulates while a batch is decided."""

    def __init__(self) -> None:
        self.facts: list[FactRecord] = []
        self.outcomes: list[OutcomeRecord] = []
        self.tombstones: list[str] = []
        self.forget: list[str] = []
        self.dead_letters: list[DeadLetter] = []


def _read(record: CommandRecord) -> Envelope | Exception:
    """Read a command, or return why it cannot be: it is told when its turn comes."""
    try:
        return decode_command(record)
    except Exception as error:  # noqa: BLE001 -- one record that cannot be read stands in no other's way
        return error


def _dead(partition: int, source: Position, reason: str) -> DeadLetter:
    return DeadLetter(f"memory.commands@{partition}@{source}", reason)
