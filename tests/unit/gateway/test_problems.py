"""Problems: each has a status on each face, and a body that its SDK reads."""

from __future__ import annotations

import json
from typing import Any

import pytest
from pydantic import ValidationError

from mnemolog.domain.outcomes import Reason
from mnemolog.domain.session_commands import NewSession
from mnemolog.gateway.problems import STATUS, Kind, Problem, invalid, mistakes, rendered, speaks_datarobot

pytestmark = pytest.mark.unit


def test_every_reason_has_a_status_on_each_face() -> None:
    """No refusal of the domain meets a gap in the table."""
    assert set(STATUS) == set(Reason) | set(Kind)


def test_the_datarobot_face_never_answers_what_its_sdk_retries() -> None:
    """413, 429, 502, 503 and 504 would be retried ten times, writes too (G3)."""
    answered = {api for kind, (_, api) in STATUS.items() if kind is not Kind.TOO_MANY}
    assert answered.isdisjoint({413, 429, 502, 503, 504})


@pytest.mark.parametrize("path", ["/v1/memories", "/api/v2/memory/", "/oauth/token", "/", "/api/v22"])
@pytest.mark.parametrize("kind", [*Reason, *Kind])
def test_every_problem_is_a_json_object_with_a_bare_content_type(kind: Reason | Kind, path: str) -> None:
    """Neither SDK survives an empty error, another content type or a bare list (G1, G2)."""
    response = rendered(Problem(kind, "why"), path, {"mnemolog-command": "c"})
    assert response.headers["content-type"] == "application/json"
    assert response.headers["mnemolog-command"] == "c"
    body = json.loads(bytes(response.body))
    expected: Any = {"error": {"code": str(response.status_code), "message": "why"}}
    assert body == ({"detail": "why"} if speaks_datarobot(path) else expected)


def test_mistakes_are_a_list_on_one_face_and_a_sentence_on_the_other() -> None:
    """`/api/v2` gets FastAPI's shape, `/v1` a message that says where."""
    problem = invalid("must not be blank", "body", "agentID")
    assert json.loads(bytes(rendered(problem, "/api/v2/x/", {}).body)) == {
        "detail": [{"type": "value_error", "loc": ["body", "agentID"], "msg": "must not be blank"}]
    }
    message = "agentID: must not be blank"
    assert json.loads(bytes(rendered(problem, "/v1/x", {}).body))["error"]["message"] == message


def test_mistakes_name_fields_as_the_caller_does_and_repeat_nothing_of_his() -> None:
    """A mistake deep in a strategy is found by its wire name; values and long keys do not come back."""
    strategy = {"type": "SECRET", "trigger": {"x" * 5_000: 1}}
    with pytest.raises(ValidationError) as caught:
        NewSession.model_validate({"participants": [], "lifecycle_strategies": [strategy]})
    found = mistakes(caught.value, ["body"], {"lifecycle_strategies": "lifecycleStrategies"})
    assert ["body", "lifecycleStrategies", 0, "type"] in [entry["loc"] for entry in found]
    assert "SECRET" not in str(found)
    assert len(str(found)) < 2_000


def test_a_flood_of_mistakes_is_cut() -> None:
    """An answer stays small, however much is wrong."""
    problem = Problem(Reason.INVALID, entries=[{"type": "t", "loc": ["body", n], "msg": "m"} for n in range(500)])
    assert len(problem.entries) == 20
