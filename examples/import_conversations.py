"""Import an export of conversations: each becomes a session of a memory space, its messages events in batches of 200.

    python examples/import_conversations.py examples/conversations.json --server http://127.0.0.1:8080 --user local
    python examples/import_conversations.py export.json --server kafka:9092 --tenant acme --actor agent/x --user ann

Run it twice and nothing is doubled: every command has a key made from the export's own ids.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from producers import Accepted, Publisher, Receipt

BATCH = 200


def created(publisher: Publisher, receipt: Receipt) -> str:
    """Return the id of what a command has made."""
    result = publisher.outcome(receipt).result
    if not isinstance(result, Accepted):
        sys.exit(f"refused: {result.detail}")
    return result.facts[0].subject


def event(message: Mapping[str, Any], person: str) -> dict[str, Any]:
    """Return a message of the export as an event."""
    by_person = message["role"] == "user"
    emitter = {"type": "user", "id": person} if by_person else {"type": "agent", "id": message["role"]}
    return {"body": {"content": message["text"], "sentAt": message["at"]}, "emitter": emitter, "type": "message"}


def imported(publisher: Publisher, export: Sequence[Mapping[str, Any]], user: str) -> int:
    """Publish the whole export; return how many messages it had."""
    space = created(publisher, publisher.create_space(user=user, description="Imported", key="import/space"))
    count, receipts = 0, []
    for conversation in export:
        name = conversation["id"]
        session = created(
            publisher,
            publisher.create_session(
                user=user,
                space_id=space,
                participant=user,
                description=conversation["title"],
                metadata={"export": name},
                key=f"import/{name}",
            ),
        )
        messages = iter(conversation["messages"])
        for number, batch in enumerate(iter(lambda rest=messages: list(islice(rest, BATCH)), [])):
            events = [event(message, user) for message in batch]
            receipts.append(
                publisher.append_events(
                    user=user, space_id=space, session_id=session, events=events, key=f"import/{name}/{number}"
                )
            )
            count += len(events)
    refused = [outcome for outcome in publisher.outcomes(receipts, 120) if not isinstance(outcome.result, Accepted)]
    for outcome in refused:
        print(f"refused: {outcome}", file=sys.stderr)
    print(
        f"{len(export)} conversations with {count} messages are in space {space}; {len(refused)} batches were refused"
    )
    return 1 if refused else 0


def main(arguments: list[str]) -> int:
    """Import a file."""
    parser = argparse.ArgumentParser(description="Import an export of conversations.")
    parser.add_argument("file", type=Path)
    parser.add_argument("--server", default="http://127.0.0.1:8080", help="a mnemolog server, or Kafka's host:port")
    parser.add_argument("--user", required=True, help="whose space it is to be; over HTTP, the API token's user")
    parser.add_argument("--token", default="", help="an API token, for HTTP")
    parser.add_argument("--tenant", default="", help="on Kafka, for which tenant")
    parser.add_argument("--actor", default="", help="on Kafka, as which principal")
    parser.add_argument("--topic-prefix", default="", help="on Kafka, what stands before the topics' names")
    options = parser.parse_args(arguments)
    export = json.loads(options.file.read_text("utf-8"))
    with Publisher(
        options.server,
        tenant=options.tenant,
        actor=options.actor,
        token=options.token,
        topic_prefix=options.topic_prefix,
    ) as publisher:
        return imported(publisher, export, options.user)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
