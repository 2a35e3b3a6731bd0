"""The left side: what publishes commands, to the topics or over HTTP, and hears what became of them.

    with Publisher("localhost:9092", tenant="acme", actor="agent/planner") as publisher:
        receipt = publisher.add_memory(agent="planner", invoker="ann", content="Ann prefers dark mode.")
        print(publisher.outcome(receipt).result)

`Publisher("http://127.0.0.1:8080", …)` says the same to a server without Kafka.
"""

from __future__ import annotations

from mnemolog.domain.outcomes import Accepted, Outcome, Reason, Rejected
from producers.errors import Away, Invalid, Late, NotAllowed, NotPublished, PublishError, TooLarge, TopicMissing
from producers.publisher import Publisher
from producers.receipt import Placed, Receipt
from producers.wishes import ABSENT, Absent

__all__ = [
    "ABSENT",
    "Absent",
    "Accepted",
    "Away",
    "Invalid",
    "Late",
    "NotAllowed",
    "NotPublished",
    "Outcome",
    "Placed",
    "PublishError",
    "Publisher",
    "Reason",
    "Receipt",
    "Rejected",
    "TooLarge",
    "TopicMissing",
]
