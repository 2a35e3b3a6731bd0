"""How commands and facts are written down: pydantic models, so that one declaration validates, encodes and documents.

1. A command has a `target` (what it is about, and who asks) and `parts` (what the caller said, item by item).
   A fact's digest covers exactly one part, so a part holds nothing that was made for the caller (design §5).
2. Commands refuse unknown fields: a misspelt one must not be lost silently. Facts ignore them: a schema grows by
   addition within a version, and old code reads new facts (design §4).
3. A field that is absent differs from one that is null: `sent` keeps just what was there.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

NAME_LIMIT = 4_096
ID_LIMIT = 128
TENANT_LIMIT = 256


def _not_blank(text: str) -> str:
    if not text.strip():
        message = "must not be blank"
        raise ValueError(message)
    return text


Name = Annotated[str, Field(min_length=1, max_length=NAME_LIMIT), AfterValidator(_not_blank)]
"""A caller's free-form identifier: agent, invoker, message group, participant, user."""

Id = Annotated[str, Field(min_length=1, max_length=ID_LIMIT)]
"""An id made here; one of the wrong form is not an error of form, it names nothing (wire contract §2: 404, not 400)."""

Json = dict[str, Any]
"""A caller's JSON object, kept verbatim."""


class Part(BaseModel):
    """One item of what the caller said."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Target(BaseModel):
    """What a command is about."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Command(BaseModel):
    """A wish: imperative, and refused or granted as a whole."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)
    TYPE: ClassVar[str]
    target: Target
    parts: tuple[Part, ...]


class Payload(BaseModel):
    """A fact's body: all content and nothing else."""

    model_config = ConfigDict(frozen=True, extra="ignore")
    TYPE: ClassVar[str]


def sent(model: BaseModel) -> dict[str, Any]:
    """Return the fields that were given, in the order of their declaration, absent ones left out."""
    # What `model_dump` calls, without its dozen of defaults: it is asked several times for each fact.
    fields: dict[str, Any] = model.__pydantic_serializer__.to_python(model, exclude_unset=True)
    return fields
