"""The table of `/audit`."""

from __future__ import annotations

from mnemolog.gateway import audit
from mnemolog.gateway.operations import Operation, Parameter, whole
from mnemolog.gateway.shapes import schema_of

_TEXT = {"type": "string"}
_ABOUT = (
    Parameter("stream", "a stream's name, or the id of a memory, session, space, message or group", _TEXT),
    Parameter("agentID", "an owner's agent, with invokerID", _TEXT),
    Parameter("invokerID", "an owner's invoker, with agentID", _TEXT),
)

AUDIT = (
    Operation(
        method="GET",
        path="/audit/history",
        handle=audit.show_history,
        tag="Audit",
        summary="What happened to a stream, to an owner's, or by a command: when, who, what changed",
        entrance="either",
        effect="none",
        answer="History",
        parameters=(*_ABOUT, Parameter("command", "the id of a command", _TEXT)),
        errors=(400, 403),
    ),
    Operation(
        method="GET",
        path="/audit/state",
        handle=audit.show_state,
        tag="Audit",
        summary="A stream, an owner's or all of the tenant's state as it was, and what was erased since",
        entrance="either",
        effect="none",
        answer="PastState",
        parameters=(Parameter("asOf", "an ISO-8601 time, or a position as histories show it", _TEXT), *_ABOUT),
        errors=(400, 403),
    ),
    Operation(
        method="POST",
        path="/audit/search",
        handle=audit.search_past,
        tag="Audit",
        summary="Search by meaning within one agent and invoker as it was, and what was erased since",
        entrance="either",
        effect="none",
        body=schema_of(audit.PAST_SEARCH),
        example={
            "agentID": "planner",
            "invokerID": "ada",
            "query": "display preferences",
            "asOf": "2026-11-18T12:00:00Z",
            "threshold": 0.3,
        },
        answer="PastSearchResults",
        errors=(400, 403),
    ),
    Operation(
        method="GET",
        path="/audit/usage",
        handle=audit.show_usage,
        tag="Audit",
        summary="Who read what, when and how often: records of an hour each, the newest in order of time",
        entrance="either",
        effect="none",
        answer="UsageRecords",
        parameters=(
            *_ABOUT,
            Parameter("actor", "a principal, such as client/planner", _TEXT),
            Parameter("since", "only records that began at this time or later", _TEXT),
            Parameter("before", "only records that began before this time", _TEXT),
            Parameter("limit", "how many at the most", whole(1, audit.USAGE_MOST, audit.USAGE_LIMIT)),
        ),
        errors=(400, 403),
    ),
)
