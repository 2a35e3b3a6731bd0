"""Shapes: a domain model under its wire names. One declaration validates, names mistakes, and documents.

1. Only the names declared here are translated; what a caller writes inside `body`, `metadata` or `opts` is his.
2. An unknown field on the top level is ignored, as both services do; one inside a strategy is a mistake.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from pydantic import BaseModel, ValidationError

from mnemolog.domain.outcomes import Reason
from mnemolog.gateway.problems import Entry, Problem, mistakes

Model = TypeVar("Model", bound=BaseModel)
Other = TypeVar("Other", bound=BaseModel)
Schema = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Shape(Generic[Model]):
    """A model and its fields by wire name."""

    model: type[Model]
    names: Mapping[str, str]

    def fields(self, document: Mapping[str, Any]) -> dict[str, Any]:
        """Return the fields that a document has, by the model's names."""
        return {field: document[wire] for wire, field in self.names.items() if wire in document}


def tried(shape: Shape[Model], document: Any, *at: str | int) -> Model | list[Entry]:
    """Return the model in a document, or the mistakes in it."""
    if not isinstance(document, dict):
        return [Entry(type="dict_type", loc=list(at), msg="must be a JSON object")]
    try:
        return shape.model.model_validate(shape.fields(document))
    except ValidationError as error:
        return mistakes(error, at, {field: wire for wire, field in shape.names.items()})


def take(shape: Shape[Model], document: Any, *at: str | int) -> Model:
    """Return the model in a document. Raises Problem with every mistake in it."""
    found = tried(shape, document, *(at or ("body",)))
    if isinstance(found, list):
        raise Problem(Reason.INVALID, entries=found)
    return found


def take_both(first: Shape[Model], second: Shape[Other], document: Any) -> tuple[Model, Other]:
    """Return the two models in a document. Raises Problem with the mistakes in both."""
    one, two = tried(first, document, "body"), tried(second, document, "body")
    if isinstance(one, list) or isinstance(two, list):
        entries = [*(one if isinstance(one, list) else []), *(two if isinstance(two, list) else [])]
        raise Problem(Reason.INVALID, entries=entries)
    return one, two


def take_each(shape: Shape[Model], items: Sequence[Any], *at: str | int) -> tuple[Model, ...]:
    """Return the models in a list. Raises Problem with the mistakes in all of its items."""
    taken, entries = [], []
    for index, item in enumerate(items):
        found = tried(shape, item, *at, index)
        if isinstance(found, list):
            entries += found
        else:
            taken.append(found)
    if entries:
        raise Problem(Reason.INVALID, entries=entries)
    return tuple(taken)


def schema_of(*shapes: Shape[Any]) -> Schema:
    """Return the JSON schema of a document that holds these shapes, in wire names."""
    properties: Schema = {}
    required: list[str] = []
    definitions: Schema = {}
    for shape in shapes:
        whole = shape.model.model_json_schema(by_alias=True)
        definitions |= whole.get("$defs", {})
        for wire, field in shape.names.items():
            properties[wire] = {k: v for k, v in whole["properties"][field].items() if k != "title"}
            if field in whole.get("required", ()):
                required.append(wire)
    document: Schema = {"type": "object", "properties": properties}
    if required:
        document["required"] = required
    if definitions:
        document["$defs"] = definitions
    return document
