"""What a request's body says to us, and what the engine is shown of it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchfleet_worker import meaning
from batchfleet_worker.exchange import Caller, Head, Request, Route
from batchfleet_worker.meaning import EnginePriority

STRIP, NEGATE = EnginePriority.STRIP, EnginePriority.NEGATE


def read(body: str | bytes, *, priority: int = 0, ceiling: int = 100) -> Request:
    path = "/v1/completions"
    head = Head(
        b"POST", path, path.encode(), (), Route.MERGE, Caller("t", ceiling), priority=priority
    )
    text = body.encode("utf-8", "surrogatepass") if isinstance(body, str) else body
    request = Request(head, text, "r")
    meaning.read(request)
    return request


def shown(request: Request, policy: EnginePriority) -> bytes:
    return meaning.for_engine(request, policy, request.priority)


@pytest.mark.parametrize(
    ("body", "weight"),
    [
        ('{"messages":[]}', 1),
        ('{"messages":[],"n":4}', 4),
        ('{"prompt":"x"}', 1),
        ('{"prompt":["x","y","z"]}', 3),
        ('{"prompt":["x","y"],"n":3}', 6),
        ('{"prompt":["x","y"],"best_of":5,"n":2}', 10),
        ('{"prompt":[1,2,3]}', 1),
        ('{"prompt":[[1,2],[3]]}', 2),
        ('{"input":["a","b"]}', 2),
        ('{"documents":["a","b","c"],"query":"q"}', 3),
        ('{"prompt":[],"n":-2}', 1),
        ('{"n":true}', 1),
        ("[]", 1),
        ("{", 1),
    ],
)
def test_a_request_weighs_prompts_times_answers(body: str, weight: int) -> None:
    assert read(body).weight == weight


def test_model_and_form_are_read() -> None:
    request = read('{"model":"m","stream":true}')
    assert (request.model, request.stream) == ("m", True)
    other = read('{"model":1,"stream":"true"}')
    assert (other.model, other.stream) == ("", False)


@pytest.mark.parametrize(
    ("asked", "header", "ceiling", "effective"),
    [
        ("-5", 0, 100, 5),  # the engine's sense: lower first
        ("7", 0, 100, -7),
        ("-500", 0, 100, 100),
        ("-5", 0, 0, 0),
        ("99999", 0, 100, -1000),
        ("-5", 3, 100, 3),
        ("true", 0, 100, 0),
        ('"-5"', 0, 100, 0),
        ("null", 0, 100, 0),
    ],
)
def test_a_priority_in_the_body_counts_where_the_header_says_none(
    asked: str, header: int, ceiling: int, effective: int
) -> None:
    request = read(f'{{"priority":{asked}}}', priority=header, ceiling=ceiling)
    assert request.priority == effective


def test_the_engine_sees_the_effective_priority_or_none() -> None:
    request = read('{"prompt":"x","priority":-500}')
    assert json.loads(shown(request, STRIP)) == {"prompt": "x"}
    assert json.loads(shown(request, NEGATE)) == {"prompt": "x", "priority": -100}
    by_header = read('{"prompt":"x"}', priority=9)
    assert shown(by_header, STRIP) is by_header.body
    assert json.loads(shown(by_header, NEGATE)) == {"prompt": "x", "priority": -9}


@pytest.mark.parametrize(
    "body",
    [
        '{"priority":-500,"x":NaN}',
        '{"priority":-500,"x":"\ud800"}',
        '{"\\u0070riority":-500,"x":NaN}',
        '{"priority":-500,"priority":-600}',
        '{"priority":-500,"x":"\\u0022"}',
        '{"priority":-500}'.encode("utf-8-sig"),
        '{"priority":-500}'.encode("utf-16"),
        '{"priority":-500}'.encode("utf-16-be"),
        '{"priority":-500}'.encode("utf-32"),
    ],
)
def test_no_spelling_takes_a_priority_past_us(body: str | bytes) -> None:
    request = read(body)
    seen = json.loads(shown(request, STRIP))
    assert "priority" not in seen
    assert json.loads(shown(request, NEGATE))["priority"] >= -100


@pytest.mark.parametrize(
    "body",
    [
        '{"model":"m","prompt":["x","y"],"n":8,"x":NaN}',
        '{"model":"m","prompt":["x","y"],"n":8}'.encode("utf-16"),
        '{"model":"m","prompt":["x","y"],"n":8,"x":"\\ud800"}',
    ],
)
def test_no_spelling_makes_a_request_light(body: str | bytes) -> None:
    """The engine reads all of these, and works on sixteen answers."""
    request = read(body)
    assert (request.weight, request.model) == (16, "m")
    assert request.fields is None  # and yet it joins nobody


def test_a_model_that_cannot_be_written_is_no_name() -> None:
    """It would go into the access log, which is UTF-8."""
    assert read('{"model":"\\ud800"}').model == ""


VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=6,
)


@given(
    st.dictionaries(st.sampled_from(["a", "priority", "n", "prompt", "stream"]), VALUES),
    st.sampled_from(EnginePriority),
    st.integers(-1000, 100),
)
def test_nothing_else_of_the_body_changes(
    fields: dict[str, Any], policy: EnginePriority, priority: int
) -> None:
    request = read(json.dumps(fields), priority=priority)
    seen = json.loads(shown(request, policy))
    sent = seen.pop("priority", 0)
    fields.pop("priority", None)
    assert seen == fields
    assert sent == (-request.priority if policy is NEGATE else 0)


@given(st.text(max_size=40) | st.text('{}[]":,0123456789einpriorty\\u', max_size=40))
def test_whatever_comes_is_read_without_a_fault(body: str) -> None:
    request = read(body)
    assert request.weight >= 1
    shown(request, NEGATE)
