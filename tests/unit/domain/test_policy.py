"""What a tenant's retention policy decides."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from mnemolog.domain.decision import PolicyState
from mnemolog.domain.ids import slot_of
from mnemolog.domain.policy import RetentionSet
from tests.given import given
from tests.wishes import set_retention

pytestmark = pytest.mark.unit


def test_fields_are_set_one_by_one() -> None:
    """Absent stays, null switches off, 0 is a number; the tenant's policy is one stream in the tenant's slot."""
    story = given(set_retention(message_days=30, memory_days=0), set_retention(usage_log_days=7))
    story.when(set_retention(message_days=None)).then(RetentionSet(message_days=None))
    (fact,) = story.facts
    assert (fact.stream, fact.subject, fact.slot, fact.version) == ("acme/policy", "policy", slot_of("acme"), 2)
    assert story.body("acme/policy") == PolicyState(None, 0, 7)


def test_guarantee_8_each_tenant_has_its_own() -> None:
    """A provider's and its subscriber's policies are different ones."""
    story = given(set_retention(memory_days=1)).when(set_retention(memory_days=2), tenant="acme/sub")
    assert story.facts[0].version == 0
    assert story.body("acme/policy") == PolicyState(None, 1, None)


@pytest.mark.parametrize(
    "days", [{}, {"memory_days": -1}, {"memory_days": 1.5}, {"memory_days": "1"}, {"memory_days": True}]
)
def test_guarantee_10_days_are_whole_numbers(days: dict[str, int]) -> None:
    """Nothing, fractions, texts, flags and negative numbers are refused."""
    with pytest.raises(ValidationError):
        set_retention(**days)
