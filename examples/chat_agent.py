"""A chat agent that remembers: it publishes its turns, keeps what it is told, and finds it again by meaning.

    mnemolog serve --no-auth --data ./memory            # in another terminal
    python examples/chat_agent.py --server http://127.0.0.1:8080 < examples/chat.txt

The agent writes through a `Publisher`, so `--publish kafka-host:9092 --tenant local --actor agent/chat` changes nothing
else. It reads over HTTP, with the position of its last write, so that a memory just kept is found at once. What it says
is not clever on purpose: what matters here is what it remembers.
"""

from __future__ import annotations

import argparse
import json
import sys
import urllib.request
from collections.abc import Iterable

from producers import Accepted, Publisher

AGENT = "chat-agent"


class Chat:
    """One conversation with one person."""

    def __init__(self, publisher: Publisher, server: str, bearer: str, person: str, group: str) -> None:
        """Take where turns are published and where memory is read."""
        self._publisher, self._server, self._bearer = publisher, server, bearer
        self._person, self._group = person, group
        self._position = ""

    def turn(self, said: str) -> str:
        """Answer one turn: publish what was said, search memory, keep what is new, publish the answer."""
        self._say("USER", said)
        if said.endswith("?"):
            found = self._search(said)
            answer = f"I remember: {found}" if found else "I do not know that yet."
        else:
            receipt = self._publisher.add_memory(agent=AGENT, invoker=self._person, content=said)
            outcome = self._publisher.outcome(receipt)
            self._position = receipt.position(outcome)
            answer = "I will remember that." if isinstance(outcome.result, Accepted) else outcome.result.detail
        self._say("ASSISTANT", answer)
        return answer

    def _say(self, role: str, content: str) -> None:
        self._publisher.add_message(
            agent=AGENT,
            invoker=self._person,
            group=self._group,
            role="USER" if role == "USER" else "ASSISTANT",
            content=content,
        )

    def _search(self, query: str) -> str:
        """Return the memory that answers best, empty if none does."""
        body = {"agentID": AGENT, "invokerID": self._person, "query": query, "threshold": 0.3, "top": 1}
        headers = {"Content-Type": "application/json"}
        if self._bearer:
            headers["Authorization"] = f"Bearer {self._bearer}"
        if self._position:
            headers["Mnemolog-Position"] = self._position
        request = urllib.request.Request(  # noqa: S310 -- the server that the user named
            f"{self._server}/v1/memories/search", json.dumps(body).encode(), headers
        )
        with urllib.request.urlopen(request) as answer:  # noqa: S310 -- the same
            hits = json.load(answer)["value"]
        return hits[0]["content"] if hits else ""


def main(arguments: list[str], lines: Iterable[str]) -> None:
    """Chat until the lines end."""
    parser = argparse.ArgumentParser(description="A chat agent that remembers.")
    parser.add_argument("--server", default="http://127.0.0.1:8080", help="where memory is read")
    parser.add_argument("--publish", help="where turns go: the server (default), or Kafka's host:port")
    parser.add_argument("--topic-prefix", default="", help="on Kafka, what stands before the topics' names")
    parser.add_argument("--tenant", default="", help="on Kafka, for which tenant")
    parser.add_argument("--actor", default="", help="on Kafka, as which principal")
    parser.add_argument("--bearer", default="", help="a token from /oauth/token, for reading")
    parser.add_argument(
        "--client", nargs=2, default=["", ""], metavar=("ID", "SECRET"), help="for publishing over HTTP"
    )
    parser.add_argument("--person", default="ann")
    parser.add_argument("--group", default="chat-1", help="the name of this conversation")
    options = parser.parse_args(arguments)
    client_id, client_secret = options.client
    with Publisher(
        options.publish or options.server,
        tenant=options.tenant,
        actor=options.actor,
        client_id=client_id,
        client_secret=client_secret,
        topic_prefix=options.topic_prefix,
    ) as publisher:
        chat = Chat(publisher, options.server, options.bearer, options.person, options.group)
        for said in filter(None, map(str.strip, lines)):
            print(f"> {said}\n{chat.turn(said)}")


if __name__ == "__main__":
    main(sys.argv[1:], sys.stdin)
