"""Where commands go: the slot of what they are about."""

from __future__ import annotations

import pytest

from mnemolog.domain.access import CreateClient
from mnemolog.domain.catalogue import COMMANDS
from mnemolog.domain.ids import command_id, make_id, proposal_id, slot_of
from mnemolog.domain.outcomes import Reason
from mnemolog.domain.routing import slot_of_command
from mnemolog.domain.schema import Command
from mnemolog.domain.streams import kind_of, own_id, stream, tenant_of
from tests.given import NOON, given
from tests.wishes import (
    add_memory,
    add_message,
    append_events,
    change,
    complete_extraction,
    create_client,
    create_key,
    create_session,
    create_space,
    create_token,
    delete_event,
    delete_memory,
    delete_message,
    delete_session,
    delete_space,
    erase,
    erase_owner,
    erase_range,
    execute,
    expire,
    hide,
    revoke_client,
    revoke_key,
    revoke_token,
    set_retention,
    update_events,
    update_memory,
    update_session,
    update_space,
)

pytestmark = pytest.mark.unit

AT_7, AT_8 = (make_id(NOON, slot, bytes(32), 0) for slot in (7, 8))
BY_OWNER: list[Command] = [add_memory(), add_message(), erase_owner()]
BY_TENANT: list[Command] = [
    set_retention(memory_days=1),
    create_client(),
    revoke_client(),
    create_token(),
    revoke_token(),
    create_key(),
    revoke_key(),
]
BY_ID: list[Command] = [
    update_memory(AT_7, content="x"),
    delete_memory(AT_7),
    delete_message(AT_7),
    update_space(AT_7, description="x"),
    delete_space(AT_7),
    create_session(AT_7),
    update_session(AT_7, AT_7, description="x"),
    delete_session(AT_7, AT_7),
    append_events(AT_7, AT_7),
    update_events(AT_7, AT_7, change(0, "x")),
    delete_event(AT_7, AT_7, 0),
    erase_range("memory", AT_7),
    erase("space", AT_7),
    expire("message", AT_7, NOON),
    execute(AT_7, "soft_delete", NOON),
    complete_extraction(AT_7, AT_7),
    hide("space", AT_7),
]


def test_every_command_has_a_route() -> None:
    """The cases below are all that there are."""
    assert {type(c) for c in (*BY_OWNER, *BY_TENANT, *BY_ID, create_space())} == set(COMMANDS.values())


@pytest.mark.parametrize("command", BY_OWNER, ids=lambda c: c.TYPE)
def test_new_memories_and_messages_go_by_their_owner(command: Command) -> None:
    """Tenant, agent and invoker."""
    assert slot_of_command("acme", "c", command) == slot_of("acme", "bot", "ann")


@pytest.mark.parametrize("command", BY_TENANT, ids=lambda c: c.TYPE)
def test_policy_and_credentials_go_by_their_tenant(command: Command) -> None:
    """The tenant alone."""
    assert slot_of_command("acme", "c", command) == slot_of("acme")


@pytest.mark.parametrize("command", BY_ID, ids=lambda c: c.TYPE)
def test_what_exists_goes_by_its_id(command: Command) -> None:
    """The slot in the id, whoever asks."""
    assert slot_of_command("acme", "c", command) == slot_of_command("evil", "d", command) == 7


def test_a_new_space_goes_by_its_key_or_its_command() -> None:
    """So one writer decides the key, and a retry of a command lands in the same place."""
    assert slot_of_command("acme", "c", create_space(deduplication_key="K")) == slot_of("acme", "u1", "K")
    assert slot_of_command("acme", "c", create_space()) == slot_of("acme", "u1", "c")


@pytest.mark.parametrize(
    "text", ["x", AT_7.upper(), "{" + AT_7 + "}", AT_7.replace("-", ""), "9e107d9d-372b-4b0d-9c0b-000000000007"]
)
def test_guarantee_10_what_is_no_id_has_no_slot(text: str) -> None:
    """Such a command is answered as not found, by whoever gets it."""
    assert slot_of_command("acme", "c", delete_memory(text)) is None
    given().when(delete_memory(text)).refused(Reason.NOT_FOUND)


def test_ids_of_two_slots_belong_to_nothing() -> None:
    """A session stands in its space's slot."""
    assert slot_of_command("acme", "c", append_events(AT_7, AT_8)) is None


def test_a_command_in_the_wrong_slot_is_refused() -> None:
    """Its writer is another one."""
    slot = slot_of("acme", "bot", "ann")
    given().when(add_memory(), slot=slot ^ 1).refused(Reason.MISROUTED, f"slot {slot}, not {slot ^ 1}")


def test_an_unknown_target_has_no_route() -> None:
    """A command that routing does not know is a mistake of ours, and loud."""
    command = CreateClient.model_construct(target=None, parts=())
    with pytest.raises(TypeError, match="no route"):
        slot_of_command("acme", "c", command)


@pytest.mark.parametrize("tenant", ["acme", "acme/sub", "a/b/memory"])
def test_names_of_streams_are_read_from_their_right_end(tenant: str) -> None:
    """A tenant may hold slashes."""
    name = stream(tenant, "session", AT_7)
    assert (tenant_of(name), kind_of(name), own_id(name)) == (tenant, "session", AT_7)
    assert (tenant_of(f"{tenant}/policy"), kind_of(f"{tenant}/policy")) == (tenant, "policy")


def test_command_ids_are_of_tenant_principal_and_key() -> None:
    """Length-prefixed, so that no two callers share one; proposals have a space of their own."""
    assert command_id("a", "b", "c") == command_id("a", "b", "c")
    assert len({command_id("a", "bc", "d"), command_id("ab", "c", "d"), command_id("a", "b", "cd")}) == 3
    assert proposal_id("a", "b", "c") != command_id("a", "b", "c")
