"""The OpenAPI 3.1 document and a page to read it, both made from the table of operations: they cannot drift.

The page holds everything it shows: no script, no font, no request to anyone.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from html import escape
from typing import Any

from mnemolog.gateway.operations import Operation, Parameter
from mnemolog.gateway.problems import speaks_datarobot
from mnemolog.gateway.resources import RESOURCES

_TEXT = {"type": "string"}
_REF = "#/components/schemas/"
_STEP = re.compile(r"{(\w+)}")
_READ = Parameter("Mnemolog-Position", "wait until reads show this position of an earlier write", _TEXT, "header")
_WRITE = Parameter("Idempotency-Key", "makes a repeat of this write safe for 24 hours", _TEXT, "header")
_SENT = {
    "Mnemolog-Command": {"description": "the id of the command", "schema": _TEXT},
    "Mnemolog-Position": {"description": "slot/epoch:offset, for reads elsewhere", "schema": _TEXT},
}
_MEANING = {
    200: "OK",
    201: "Created",
    202: "Taken; it is not all done yet",
    204: "Done",
    400: "The request is not valid",
    401: "Nobody known asks",
    429: "The tenant makes more requests than it may; `Retry-After` says when to come again",
    403: "Not allowed",
    404: "There is no such thing",
    409: "Taken, or changed since",
    415: "The media type is not one of those listed",
    422: "The request is not valid",
    500: "Late or away; the text says what to do",
    503: "Away or late; try again",
    504: "The outcome is not known in time; the text says what to do",
}


def document(operations: Sequence[Operation], version: str) -> dict[str, Any]:
    """Return the OpenAPI document of these operations."""
    schemas: dict[str, Any] = dict(RESOURCES)
    paths: dict[str, dict[str, Any]] = {}
    for operation in operations:
        paths.setdefault(operation.path, {})[operation.method.lower()] = _described(operation, schemas)
    security = {
        "client": {
            "type": "oauth2",
            "flows": {"clientCredentials": {"tokenUrl": "/oauth/token", "scopes": {}}},
        },
        "token": {"type": "http", "scheme": "bearer", "description": "An API token; `Token …` is accepted as well."},
    }
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "mnemolog",
            "version": version,
            "description": "An event-sourced memory service for AI agents, on the wire formats of two published SDKs.",
        },
        "paths": paths,
        "components": {"schemas": schemas, "securitySchemes": security},
    }


def page(described: dict[str, Any]) -> str:
    """Return the document as a page."""
    sections = []
    for path, methods in described["paths"].items():
        for method, operation in methods.items():
            sections.append(_section(path, method.upper(), operation))
    title = f"{described['info']['title']} {described['info']['version']}"
    return _PAGE.format(
        title=escape(title), about=escape(described["info"]["description"]), sections="\n".join(sections)
    )


def _described(operation: Operation, schemas: dict[str, Any]) -> dict[str, Any]:
    given = [*operation.parameters]
    given += {"read": [_READ], "write": [_WRITE], "none": []}[operation.effect]
    steps = _STEP.findall(operation.path)
    parameters = [{"name": name, "in": "path", "required": True, "schema": _TEXT} for name in steps]
    parameters += [{"name": p.name, "in": p.place, "description": p.about, "schema": p.schema} for p in given]
    found: dict[str, Any] = {
        "operationId": operation.handle.__module__.rpartition(".")[2] + "_" + operation.handle.__name__,
        "tags": [operation.tag],
        "summary": operation.summary,
        "parameters": parameters,
        "responses": _responses(operation),
    }
    if operation.entrance != "open":
        ways = ("client", "token") if operation.entrance == "either" else (operation.entrance,)
        found["security"] = [{way: []} for way in ways]
    if operation.media:
        content = {}
        for media, (schema, example) in operation.media.items():
            body = dict(schema)
            schemas |= _lifted(body.pop("$defs", {}))
            content[media] = {"schema": _lifted(body), "example": example}
        found["requestBody"] = {"content": content}
    elif operation.body is not None:
        body = dict(operation.body)
        schemas |= _lifted(body.pop("$defs", {}))
        content = {"schema": _lifted(body), "example": operation.example}
        found["requestBody"] = {"content": {"application/json": content}}
    elif operation.example is not None:
        form = {"schema": {"type": "object"}, "example": operation.example}
        found["requestBody"] = {"content": {"application/x-www-form-urlencoded": form}}
    return found


def _responses(operation: Operation) -> dict[str, Any]:
    good: dict[str, Any] = {"description": _MEANING[operation.status]}
    if operation.answer is not None:
        good["content"] = {"application/json": {"schema": {"$ref": _REF + operation.answer}}}
    if operation.effect == "write":
        good["headers"] = _SENT
    api = speaks_datarobot(operation.path)
    statuses = set(operation.errors)
    if operation.entrance != "open":
        late = {500} if api else {503, *({504} if operation.effect == "write" else ())}
        form = (
            {422} if operation.effect == "write" or (api and operation.effect == "read") else set()
        )  # a position, too
        statuses |= {401, 429, *late, *form, *({400} if operation.effect == "read" and not api else ())}
    error = {"schema": {"$ref": _REF + ("Detail" if api else "Error")}}
    bad = {
        str(status): {"description": _MEANING[status], "content": {"application/json": error}}
        for status in sorted(statuses)
    }
    more = {str(status): {**good, "description": _MEANING[status]} for status in operation.also}
    return {str(operation.status): good, **more, **bad}


def _lifted(schema: Any) -> Any:
    """Return a schema whose references lead to the document's components."""
    if isinstance(schema, list):
        return [_lifted(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    return {
        key: value.replace("#/$defs/", _REF) if key == "$ref" and isinstance(value, str) else _lifted(value)
        for key, value in schema.items()
    }


def _section(path: str, method: str, operation: dict[str, Any]) -> str:
    lines = [
        f"<h2><code>{method} {escape(path)}</code></h2>",
        f"<p>{escape(operation['summary'])}</p>",
    ]
    if operation["parameters"]:
        rows = "".join(
            f"<tr><td><code>{escape(p['name'])}</code><td>{p['in']}<td>{escape(p.get('description', ''))}"
            for p in operation["parameters"]
        )
        lines.append(f"<table>{rows}</table>")
    for content in operation.get("requestBody", {}).get("content", {}).values():
        example = content["example"]
        text = example if isinstance(example, str) else json.dumps(example, ensure_ascii=False, indent=2)
        lines.append(f"<pre>{escape(text)}</pre>")
    answers = ", ".join(f"{status} {escape(one['description'])}" for status, one in operation["responses"].items())
    lines.append(f"<p class=answers>{answers}</p>")
    return "\n".join(lines)


_PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>{title}</title>
<style>
body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem }}
h2 {{ font-size: 1rem; margin-top: 2.5rem; border-top: 1px solid #8886; padding-top: 1rem }}
pre {{ background: #8882; padding: .75rem; overflow-x: auto }}
td {{ padding: 0 1rem 0 0; vertical-align: top }}
.answers {{ color: #888 }}
:root {{ color-scheme: light dark }}
</style>
<h1>{title}</h1>
<p>{about} The same as data: <a href="/openapi.json">openapi.json</a>.</p>
{sections}
</html>
"""
