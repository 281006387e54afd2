"""Only requests whose stream and whole answer say the same cross from one form to the other."""

from __future__ import annotations

import json
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from batchfleet_worker.crossover import ask_usage, asks_at_most_usage, may_cross, wants_usage

CHAT: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": "a"}], "seed": 1}
COMPLETION: dict[str, Any] = {"model": "m", "prompt": "a", "temperature": 0}
USAGE = {"include_usage": True}


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"max_tokens": 5, "top_p": 0.9, "stop": ["\n"], "user": "me", "priority": 3},
        {"n": 1},
        {"n": None, "tools": None, "logprobs": None, "response_format": None},
        {"logprobs": False},
        {"response_format": {"type": "text"}},
        {"stream": False},
        {"stream": True},
        {"stream": True, "stream_options": None},
        {"stream": True, "stream_options": {}},
        {"stream": True, "stream_options": USAGE},
        {"stream": True, "stream_options": {"include_usage": False}},
    ],
)
def test_plain_text_crosses(more: dict[str, Any]) -> None:
    assert may_cross({**CHAT, **more})


@pytest.mark.parametrize(
    "more",
    [
        {"n": 2},
        {"n": True},
        {"n": 1.0},
        {"best_of": 2},
        {"tools": []},
        {"tools": [{"type": "function"}]},
        {"tool_choice": "none"},
        {"response_format": {"type": "json_object"}},
        {"response_format": {"type": "text", "schema": {}}},
        {"structured_outputs": {"regex": "a"}},
        {"guided_json": {}},
        {"reasoning_effort": "low"},
        {"include_reasoning": False},
        {"thinking_token_budget": 5},
        {"chat_template_kwargs": {"enable_thinking": False}},
        {"logprobs": True},
        {"logprobs": 0},
        {"top_logprobs": 1},
        {"prompt_logprobs": 0},
        {"echo": True},
        {"return_token_ids": True},
        {"stream_interval": 4},
        {"kv_transfer_params": {}},
        {"add_generation_prompt": False},
        {"stream": 1},
        {"stream_options": USAGE},
        {"stream": False, "stream_options": {}},
        {"stream": True, "stream_options": {"continuous_usage_stats": True}},
        {"stream": True, "stream_options": {"include_usage": 1}},
        {"stream": True, "stream_options": []},
        {"a_field_of_tomorrow": None},
    ],
)
def test_whatever_may_change_the_shape_does_not_cross(more: dict[str, Any]) -> None:
    assert not may_cross({**CHAT, **more})


def test_only_a_single_prompt_crosses() -> None:
    assert may_cross(COMPLETION)
    assert may_cross({**COMPLETION, "prompt": [1, 2, 3]})
    for prompt in (["a", "b"], ["a"], [[1, 2], [3]], [], None, [True], {"a": 1}):
        assert not may_cross({**COMPLETION, "prompt": prompt})
    # vLLM reads a completion's false as 0: logprobs of the chosen token
    assert not may_cross({**COMPLETION, "logprobs": False})


FIELD = st.text(max_size=8)
BODIES = st.dictionaries(
    FIELD | st.sampled_from(["stream_options", "messages", "user"]),
    st.recursive(
        st.none()
        | st.booleans()
        | st.integers(-(2**53), 2**53)
        | FIELD
        | st.just("stream_options"),
        lambda inner: (
            st.lists(inner, max_size=2)
            | st.dictionaries(FIELD | st.just("stream_options"), inner, max_size=2)
        ),
        max_leaves=6,
    ),
    max_size=4,
)
OPTIONS = st.none() | st.dictionaries(
    st.sampled_from(["include_usage", "continuous_usage_stats", "later"]),
    st.none() | st.booleans() | FIELD,
)


@hypothesis_settings(deadline=None)
@given(body=BODIES, options=OPTIONS, has=st.booleans(), data=st.data())
def test_asking_for_usage_changes_nothing_else(
    body: dict[str, Any], options: dict[str, Any] | None, has: bool, data: st.DataObject
) -> None:
    fields = {**body, "stream": True, **({"stream_options": options} if has else {})}
    fields = dict(data.draw(st.permutations(list(fields.items()))))
    raw = data.draw(
        st.sampled_from(
            [json.dumps(fields), json.dumps(fields, indent=1), orjson.dumps(fields).decode()]
        )
    ).encode()
    asked, added = ask_usage(orjson.loads(raw), raw)
    if not added:
        assert asked == raw
        return
    had = fields.get("stream_options") or {}
    assert not had.get("include_usage")
    assert json.loads(asked) == {**fields, "stream_options": {**had, "include_usage": True}}


@pytest.mark.parametrize(
    ("raw", "wanted"),
    [
        (
            b' {"stream": true, "top_p": 1.0, "logit_bias": {"1": 1e2}}',
            b' {"stream_options":{"include_usage":true},'
            b'"stream": true, "top_p": 1.0, "logit_bias": {"1": 1e2}}',
        ),
        (
            b'{"stream":true,"stream_options":null,"top_p":1.0}',
            b'{"stream":true,"stream_options":{"include_usage":true},"top_p":1.0}',
        ),
        (
            b'{"stream_options": {"include_usage": false, "later": 3}, "stream":true}',
            b'{"stream_options": {"include_usage":true,"later":3}, "stream":true}',
        ),
    ],
)
def test_the_rest_of_the_body_stays_as_the_client_wrote_it(raw: bytes, wanted: bytes) -> None:
    assert ask_usage(orjson.loads(raw), raw) == (wanted, True)


@pytest.mark.parametrize(
    "raw",
    [
        b"{}",
        b'{"stream":true,"stream_options":{"include_usage":true}}',
        # would put a count into every event
        b'{"stream":true,"stream_options":{"continuous_usage_stats":true}}',
        b'{"stream":true,"stream_options":3}',
        b'{"stream_options":{},"stream":true,"stream_options":null}',
        b'{"stream\\u005foptions":{},"user":{"stream_options":{}}}',
    ],
)
def test_where_it_is_not_safe_nothing_is_added(raw: bytes) -> None:
    assert ask_usage(orjson.loads(raw), raw) == (raw, False)


def test_who_asked_for_usage() -> None:
    assert wants_usage({"stream_options": USAGE})
    assert not wants_usage({"stream_options": {"include_usage": False}})
    assert not wants_usage({"stream_options": None})
    assert not wants_usage({})
    assert asks_at_most_usage({})
    assert not asks_at_most_usage({"stream_options": {"include_usage": True, "later": None}})
