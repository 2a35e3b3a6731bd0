"""The OData of the SAP SDK: what it sends is read as it was meant, and a mistake is never read as a wider filter."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mnemolog.domain.ports import Match
from mnemolog.domain.reads import Filter
from mnemolog.gateway.odata import MEMORY_FIELDS, MESSAGE_FIELDS, parse_filter, parse_listing
from mnemolog.gateway.problems import Problem

pytestmark = pytest.mark.unit

TEXTS = st.text(alphabet=st.one_of(st.sampled_from("' ()%&_,eqand"), st.characters(codec="utf-8")))


def literal(text: str) -> str:
    """Quote a text as the SDK does."""
    return "'" + text.replace("'", "''") + "'"


@given(
    st.dictionaries(st.sampled_from(sorted(MESSAGE_FIELDS)), TEXTS),
    st.lists(st.tuples(st.sampled_from(["content", "metadata"]), TEXTS), max_size=4),
)
def test_a_filter_reads_back_as_it_was_written(equal: dict[str, str], contains: list[tuple[str, str]]) -> None:
    """Any texts, quotes, brackets and ` and ` inside them too, survive the way over the SDK's spelling."""
    terms = [f"{name} eq {literal(text)}" for name, text in equal.items()]
    terms += [f"contains({target}, {literal(text)})" for target, text in contains]
    wanted = Filter(
        **{MESSAGE_FIELDS[name]: text for name, text in equal.items()},
        contains=tuple(Match(target, text) for target, text in contains),
    )
    if terms:
        assert parse_filter(" and ".join(terms), MESSAGE_FIELDS) == wanted


@given(st.one_of(TEXTS, st.text(alphabet="agentID eq'(),contains ", max_size=60)))
def test_any_text_is_a_filter_or_a_problem(text: str) -> None:
    """No input makes the parser fail in another way than it should."""
    try:
        parse_filter(text, MEMORY_FIELDS)
    except Problem as problem:
        assert "position" in problem.detail  # noqa: PT017 - most texts are no filter, some are


def test_the_sdks_own_examples() -> None:
    """The filters of the wire contract are read as written there."""
    text = "agentID eq 'ag''ent' and contains(content, 'dark'' mode')"
    assert parse_filter(text, MEMORY_FIELDS) == Filter(agent="ag'ent", contains=(Match("content", "dark' mode"),))
    assert parse_filter("contains( content,'a' )", MEMORY_FIELDS) == Filter(contains=(Match("content", "a"),))


def test_targets_may_repeat() -> None:
    """Two `contains` on one target both hold; two equal `eq` are one."""
    text = "contains(content, 'a') and contains(content, 'b') and agentID eq 'x' and agentID eq 'x'"
    assert parse_filter(text, MEMORY_FIELDS) == Filter(
        agent="x", contains=(Match("content", "a"), Match("content", "b"))
    )


def test_contradicting_equalities_match_nothing() -> None:
    """A field cannot equal two texts: nothing matches, which is not an error."""
    assert parse_filter("agentID eq 'a' and agentID eq 'b'", MEMORY_FIELDS) is None


@pytest.mark.parametrize(
    ("text", "at"),
    [
        ("", 1),
        ("  ", 3),
        ("agentID", 8),
        ("agentID eq", 11),
        ("agentID eq agent", 12),
        ("agentID eq 'a", 12),
        ("agentID eq 'a' or invokerID eq 'b'", 16),
        ("agentID eq 'a' and", 19),
        ("agentID eq 'a' 'b'", 16),
        ("agentid eq 'a'", 1),
        ("agentID EQ 'a'", 9),
        ("agentID ne 'a'", 9),
        ("messageGroup eq 'a'", 1),
        ("contains(role, 'a')", 10),
        ("contains(content 'a')", 18),
        ("contains(content, 'a'", 22),
        ("contains(content, 'a'))", 23),
        ("contains", 1),
        ("(agentID eq 'a')", 1),
        ("agentID eq \N{LEFT SINGLE QUOTATION MARK}a\N{RIGHT SINGLE QUOTATION MARK}", 12),
        ("agentID eq null", 12),
    ],
)
def test_a_mistake_is_named_with_its_place(text: str, at: int) -> None:
    """What is not in the grammar is refused, and the text says where."""
    with pytest.raises(Problem) as caught:
        parse_filter(text, MEMORY_FIELDS)
    assert caught.value.detail.endswith(f"at position {at}")


@pytest.mark.parametrize(
    ("given_", "skip", "top", "counted"),
    [
        ({}, 0, None, False),
        ({"$top": "0", "$count": "true"}, 0, 0, True),
        ({"$top": "123456", "$skip": "7", "$count": "false"}, 7, 123_456, False),
        ({"$top": "9" * 5_000, "$skip": "9" * 400}, (1 << 53) - 1, (1 << 53) - 1, False),
        ({"top": "1", "other": "x"}, 0, None, False),
    ],
)
def test_paging_is_read_without_a_bound(given_: dict[str, str], skip: int, top: int | None, counted: bool) -> None:
    """`$top` and `$skip` may be as large as anyone likes; options without a dollar sign are not ours."""
    found = parse_listing({name: [text] for name, text in given_.items()}, MEMORY_FIELDS)
    assert found == (Filter(), skip, top, counted)


@pytest.mark.parametrize(
    "given_",
    [
        *({"$top": [text]} for text in ("-1", "a", "", "1.5", "1e3", " 1", "\N{ARABIC-INDIC DIGIT ONE}")),
        {"$skip": ["-1"]},
        {"$count": ["yes"]},
        {"$top": ["1", "2"]},
        {"$filter": ["agentID eq 'a'", "agentID eq 'b'"]},
        *({name: ["x"]} for name in ("$orderby", "$search", "$select", "$expand", "$", "$Filter")),
    ],
)
def test_wrong_options_are_refused(given_: dict[str, Any]) -> None:
    """No option is ignored silently: a list that is not what was asked for looks like one that is."""
    with pytest.raises(Problem):
        parse_listing(given_, MEMORY_FIELDS)


def test_a_filter_has_a_bound_of_conditions() -> None:
    """Each `contains` reads every text of its scope; the fifty-first is refused, and none is left out."""
    most = " and ".join(["contains(content, 'x')"] * 50)
    found = parse_filter(most, MEMORY_FIELDS)
    assert found is not None
    assert len(found.contains) == 50
    with pytest.raises(Problem) as refused:
        parse_filter(f"{most} and agentID eq 'a'", MEMORY_FIELDS)
    assert "more than 50 conditions" in refused.value.detail
