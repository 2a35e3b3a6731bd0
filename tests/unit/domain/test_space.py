"""What a space decides: ownership, deduplication keys, hiding."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from mnemolog.domain.decision import Ended
from mnemolog.domain.ids import slot_in, slot_of
from mnemolog.domain.outcomes import Reason, Rejected
from mnemolog.domain.space import SpaceCreated, SpaceDeleted, SpaceErased, SpaceUpdated
from tests.given import given
from tests.wishes import create_space, delete_space, erase_range, update_space

pytestmark = pytest.mark.unit


def test_a_space_is_opened_where_its_key_is_decided() -> None:
    """Its slot is of tenant, user and key, so one writer decides the key, and a retry lands in the same place."""
    story = given(create_space(deduplication_key="K", description="d"))
    story.then(SpaceCreated(user="u1", description="d", deduplication_key="K"))
    assert slot_in(story.id("space")) == story.facts[0].slot == slot_of("acme", "u1", "K")


def test_a_space_without_a_key_goes_by_its_command() -> None:
    """A retry, which has the same command id, lands in the same place."""
    story = given().when(create_space(), key="a")
    assert story.facts[0].slot == slot_of("acme", "u1", "a-")


def test_a_key_is_unique_among_the_live_spaces_of_a_user() -> None:
    """The second is refused with the first one's id; other users and tenants have their own; deletion frees."""
    story = given(create_space(deduplication_key="K"))
    first = story.id("space")
    story.when(create_space(deduplication_key="K")).refused(Reason.KEY_TAKEN)
    assert isinstance(story.result, Rejected)
    assert story.result.existing == first
    story.when(create_space("u2", deduplication_key="K")).then(SpaceCreated)
    story.when(create_space(deduplication_key="K"), tenant="other").then(SpaceCreated)
    story.when(delete_space(first)).then(SpaceDeleted)
    story.when(create_space(deduplication_key="K")).then(SpaceCreated)


def test_erasing_a_space_does_not_free_the_key_that_another_took() -> None:
    """A key that was freed and taken again belongs to the one that took it."""
    story = given(create_space(deduplication_key="K"))
    first = story.id("space")
    story.when(delete_space(first)).when(create_space(deduplication_key="K")).then(SpaceCreated)
    second = story.id("space")
    story.when(erase_range("space", first), by="worker/eraser").then(SpaceErased)
    assert story.body(f"acme/space/{first}") == Ended()
    story.when(create_space(deduplication_key="K")).refused(Reason.KEY_TAKEN)
    assert story.result.existing == second  # type: ignore[union-attr]


@pytest.mark.parametrize(("user", "tenant"), [("u2", "acme"), ("u1", "evil")])
def test_guarantee_8_a_foreign_space_does_not_exist(user: str, tenant: str) -> None:
    """Another user or tenant gets the answer that an id gets which never was."""
    story = given(create_space())
    space = story.id("space")
    nobody = given().when(update_space(space, description="x")).result
    for command in (update_space(space, user, description="x"), delete_space(space, user)):
        story.when(command, tenant=tenant).refused(Reason.NOT_FOUND)
        assert story.result == nobody


def test_an_update_says_only_what_changes() -> None:
    """Null clears, absent stays: the fact tells them apart."""
    story = given(create_space(description="d", custom_instructions="i"))
    story.when(lambda s: update_space(s.id("space"), description=None)).then(SpaceUpdated(description=None))
    assert story.facts[0].payload.model_fields_set == {"description"}


def test_a_hidden_space_is_gone_for_decisions() -> None:
    """It can be neither changed nor deleted again, and only then erased."""
    story = given(create_space())
    space = story.id("space")
    story.when(erase_range("space", space), by="worker/eraser").refused(Reason.NOT_HIDDEN)
    story.when(delete_space(space)).then(SpaceDeleted)
    story.when(update_space(space, description="x")).refused(Reason.NOT_FOUND)
    story.when(delete_space(space)).refused(Reason.NOT_FOUND)
    story.when(erase_range("space", space), by="worker/eraser").then(SpaceErased)
    story.when(erase_range("space", space), by="worker/eraser").refused(Reason.NOT_FOUND)


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"description": "x" * 1_001},
        {"llm_model_name": "x" * 201},
        {"llm_base_url": "ftp://x"},
        {"llm_base_url": "http://"},
        {"llm_base_url": "https://x/" + "y" * 2_083},
        {"custom_instructions": "x" * 10_001},
        {"deduplication_key": "k"},
        {"color": "red"},
    ],
    ids=lambda fields: next(iter(fields), "nothing"),
)
def test_guarantee_10_a_change_has_its_limits(fields: dict[str, str]) -> None:
    """Nothing, too much, no URL, another key, an unknown field: refused before anything is decided."""
    with pytest.raises(ValidationError):
        update_space("s", **fields)


@pytest.mark.parametrize("key", ["", "k" * 73])
def test_guarantee_10_a_deduplication_key_has_1_to_72_characters(key: str) -> None:
    """Longer keys, and empty ones, are refused."""
    with pytest.raises(ValidationError):
        create_space(deduplication_key=key)
