"""The merge key joins what is equal and nothing else.

The oracle reads the body's text again with the standard library's parser, keeping duplicate names,
number types and the order of everything below the top, and compares that.
"""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from batchfleet_worker import meaning
from batchfleet_worker.exchange import Caller, Head, Headers, Request, Route
from batchfleet_worker.http1 import TRACE_HEADERS
from batchfleet_worker.key import INERT_FIELDS, MergeKeys, NotMerged

KEYS = MergeKeys(b"secret", max_body_bytes=100_000)
HEADERS: Headers = ((b"content-type", b"application/json"), (b"authorization", b"Bearer a"))

CHAT = "/v1/chat/completions"
EMBEDDINGS = "/v1/embeddings"


def request(body: str, path: str = EMBEDDINGS, headers: Headers = HEADERS) -> Request:
    return Request(Head(b"POST", path, path.encode(), headers, Route.MERGE), body.encode(), "r")


def key_of(asked: Request, keys: MergeKeys = KEYS) -> bytes | NotMerged:
    meaning.read(asked)
    return keys(asked)


def key(body: str, path: str = EMBEDDINGS, headers: Headers = HEADERS) -> bytes | NotMerged:
    return key_of(request(body, path, headers))


# --- bodies --------------------------------------------------------------------------------
# A tree is a scalar, a list of trees, or a tuple of (name, tree) pairs: an object, in which names
# may occur twice.

Tree = Any

NAMES = st.one_of(
    st.sampled_from(["a", "b", "model", "user", "request_id", "é", 'q"', "e+", ""]),
    st.text(max_size=4),
)
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(min_value=-3, max_value=3),
    st.integers(),
    st.sampled_from([2**53, 2**53 + 1, 2**63, 2**64 - 1, 2**64, 2**64 + 1, -(2**63) - 1, -(2**63)]),
    st.floats(allow_nan=False, allow_infinity=False),
    st.sampled_from([0.0, -0.0, 1.0, 0.1, 1e16, 1e22, 5e-324]),
    st.text(max_size=6),
    st.sampled_from(["1", "true", "e+", '"', "\\", "\\u0022", "é", "é", "\u2028"]),
)
TREES: st.SearchStrategy[Tree] = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3) | st.lists(st.tuples(NAMES, inner), max_size=3).map(tuple)
    ),
    max_leaves=8,
)
OBJECTS = st.lists(st.tuples(NAMES, TREES), max_size=5).map(tuple)


@st.composite
def texts(draw: st.DrawFn, tree: Tree) -> str:
    """One of the many ways to write a tree."""
    space = draw(st.sampled_from(["", " ", "\n\t"]))
    ascii_only = draw(st.booleans())

    def write(value: Tree) -> str:
        if isinstance(value, tuple):
            members = (f"{write(name)}:{space}{write(inner)}" for name, inner in value)
            return "{" + f",{space}".join(members) + "}"
        if isinstance(value, list):
            return "[" + f",{space}".join(map(write, value)) + "]"
        return json.dumps(value, ensure_ascii=ascii_only)

    return write(tree)


@st.composite
def neighbours(draw: st.DrawFn, tree: Tree) -> Tree:
    """An object that differs little from another, or only in order, or not at all."""

    def near(value: Tree) -> Tree:
        turn = draw(st.integers(0, 5))
        if isinstance(value, list | tuple) and value:
            items = list(value)
            if turn == 0:
                items = draw(st.permutations(items))
            elif turn == 1:
                items.pop(draw(st.integers(0, len(items) - 1)))
            elif turn == 2:
                items.append(draw(st.sampled_from(items)))
            else:
                at = draw(st.integers(0, len(items) - 1))
                inner = items[at]
                if isinstance(value, tuple):
                    items[at] = (inner[0], near(inner[1]))
                else:
                    items[at] = near(inner)
            return tuple(items) if isinstance(value, tuple) else items
        if turn < 3:
            return value
        if isinstance(value, int | float) and turn < 5:
            return draw(st.sampled_from([str(value), bool(value), value + 1, -value]))
        return draw(SCALARS)

    changed = near(tree)
    return changed if isinstance(changed, tuple) else tree


@st.composite
def pairs(draw: st.DrawFn) -> tuple[str, str]:
    """Two bodies that have much in common."""
    tree = draw(OBJECTS)
    other = draw(st.permutations(tree).map(tuple) | neighbours(tree) | neighbours(tree) | OBJECTS)
    return draw(texts(tree)), draw(texts(other))


def said_by(text: str) -> Tree:
    """What the engine may make of a body: everything but spacing, escapes and top-level order."""

    def exact(value: Tree) -> Tree:
        if isinstance(value, tuple):
            return ("object", tuple((name, exact(inner)) for name, inner in value))
        if isinstance(value, list):
            return ("list", tuple(map(exact, value)))
        return (type(value).__name__, repr(value))

    fields = json.loads(text, object_pairs_hook=tuple) or ()
    names = [name for name, _ in fields]
    kept = [(name, exact(inner)) for name, inner in fields if name not in INERT_FIELDS]
    return kept if len(set(names)) < len(names) else sorted(kept)


def plain(text: str) -> bool:
    """Whether a body has none of the oddities that join only what is byte-identical."""

    def check(members: list[tuple[str, Tree]]) -> dict[str, Tree]:
        assert len({name for name, _ in members}) == len(members)
        return dict(members)

    def small(digits: str) -> int:
        assert -(2**63) <= int(digits) < 2**64
        return int(digits)

    try:
        json.loads(text, object_pairs_hook=check, parse_int=small)
    except AssertionError:
        return False
    return "e+" not in text and "\\u0022" not in text


@given(pairs())
@example(('{"a":1}', '{"a":1.0}'))
@example(('{"a":1}', '{"a":true}'))
@example(('{"a":null}', "{}"))
@example(('{"a":1,"a":2}', '{"a":2}'))
@example(('{"a":1,"a":2,"b":"\\u0022\\u0022"}', '{"a":2,"b":"\\"\\""}'))
@example(('{"a":18446744073709551616}', '{"a":18446744073709551617}'))
@example(('{"a":[18446744073709551616]}', '{"a":[1.8446744073709552e19]}'))
@example(('{"a":-9223372036854775809}', '{"a":-9223372036854775810}'))
@example(('{"a":{"b":1,"c":2}}', '{"a":{"c":2,"b":1}}'))
def test_never_joins_bodies_that_mean_different_things(bodies: tuple[str, str]) -> None:
    one, two = map(key, bodies)
    if isinstance(one, bytes) and one == two:
        assert said_by(bodies[0]) == said_by(bodies[1])


@given(pairs())
@example(('{"a":1,"b":2}', '{ "b": 2, "a": 1 }'))
@example(('{"a":"é"}', '{"a":"\\u00e9"}'))
@example(('{"a":1,"user":"me","request_id":"1"}', '{"a":1,"user":"you"}'))
def test_joins_bodies_that_differ_in_spelling_only(bodies: tuple[str, str]) -> None:
    if plain(bodies[0]) and plain(bodies[1]) and said_by(bodies[0]) == said_by(bodies[1]):
        one, two = map(key, bodies)
        assert one == two


@given(OBJECTS.flatmap(texts))
def test_a_body_always_equals_itself(body: str) -> None:
    assert key(body) == key(body)


@pytest.mark.parametrize(
    "body", ["", "{", "[]", "1", '{"a":NaN}', '{"a":1e999}', '{"a":"\\ud800"}', "\ufeff{}"]
)
def test_what_cannot_be_read_exactly_is_passed_on_alone(body: str) -> None:
    assert key(body) is NotMerged.UNPARSABLE


def test_deep_nesting_is_passed_on_alone() -> None:
    assert key('{"a":' + "[" * 5000 + "]" * 5000 + "}") is NotMerged.UNPARSABLE


def test_a_large_body_is_passed_on_alone() -> None:
    keys = MergeKeys(b"secret", max_body_bytes=10)
    assert isinstance(key_of(request('{"a":1234}'), keys), bytes)
    assert key_of(request('{"a":12345}'), keys) is NotMerged.TOO_LARGE


@pytest.mark.parametrize(
    ("members", "merges"),
    [
        ('"temperature":0', True),
        ('"temperature":0.0', True),
        ('"temperature":-0.0', True),
        ('"seed":0', True),
        ('"seed":7,"temperature":1', True),
        ('"temperature":0.001', False),
        ('"temperature":1', False),
        ('"temperature":false', False),
        ('"temperature":"0"', False),
        ('"temperature":null', False),
        ('"seed":null', False),
        ('"seed":-1', False),
        ('"seed":true', False),
        ('"top_k":1', False),
    ],
)
def test_only_repeatable_generations_merge(members: str, merges: bool) -> None:
    got = key(f'{{"model":"m",{members}}}', CHAT)
    assert isinstance(got, bytes) if merges else got is NotMerged.NONDETERMINISTIC


def test_embeddings_merge_without_a_temperature() -> None:
    assert isinstance(key('{"model":"m","input":"x"}', EMBEDDINGS), bytes)


@pytest.mark.parametrize(
    "member",
    [
        '"store":true',
        '"kv_transfer_params":{"do_remote_decode":true}',
        '"previous_response_id":"x"',
    ],
)
def test_what_leaves_something_behind_never_merges(member: str) -> None:
    assert key(f'{{"temperature":0,{member}}}', CHAT) is NotMerged.STATEFUL


def test_the_same_body_elsewhere_is_another_request() -> None:
    body = b'{"seed":1}'
    same = Request(Head(b"POST", CHAT, CHAT.encode(), HEADERS, Route.MERGE), body, "r")
    others = [
        Request(Head(b"PUT", CHAT, CHAT.encode(), HEADERS, Route.MERGE), body, "r"),
        Request(Head(b"POST", CHAT, CHAT.encode() + b"?v=2", HEADERS, Route.MERGE), body, "r"),
        Request(Head(b"POST", EMBEDDINGS, EMBEDDINGS.encode(), HEADERS, Route.MERGE), body, "r"),
    ]
    assert len({key_of(each) for each in [same, *others]}) == 4


def test_another_process_has_other_keys() -> None:
    other = MergeKeys(b"other", max_body_bytes=100_000)
    assert key('{"a":1}') != key_of(request('{"a":1}'), other)


# --- headers -------------------------------------------------------------------------------

INERT = [b"user-agent", b"x-request-id", b"traceparent", b"x-stainless-retry-count", b"host"]
ACTIVE = [b"authorization", b"x-api-key", b"cookie", b"accept", b"accept-encoding", b"x-tenant"]

TOKEN = st.text("abcdefghij-'\",()[]:=", min_size=1, max_size=8).map(str.encode)
HEADER_LISTS = st.lists(st.tuples(st.sampled_from(INERT + ACTIVE) | TOKEN, TOKEN), max_size=6)


def told_apart_by(headers: list[tuple[bytes, bytes]]) -> dict[bytes, list[bytes]]:
    """Per header that is not inert its values in order."""
    values: dict[bytes, list[bytes]] = {}
    for name, value in headers:
        if name not in INERT and not name.startswith(b"x-stainless-"):
            values.setdefault(name, []).append(value)
    return values


@given(
    HEADER_LISTS.flatmap(
        lambda headers: st.tuples(
            st.just(headers),
            st.permutations(headers) | st.lists(st.sampled_from(headers), max_size=6) | HEADER_LISTS
            if headers
            else HEADER_LISTS,
        )
    )
)
@example(([(b"x-a", b"1"), (b"x-a", b"2")], [(b"x-a", b"2"), (b"x-a", b"1")]))
@example(([(b"a", b"b, c")], [(b"a", b"b"), (b"a", b"c")]))
def test_headers_join_exactly_when_the_active_ones_are_equal(
    both: tuple[list[tuple[bytes, bytes]], list[tuple[bytes, bytes]]],
) -> None:
    one, two = (key('{"a":1}', headers=tuple(headers)) for headers in both)
    assert (one == two) == (told_apart_by(both[0]) == told_apart_by(both[1]))


@pytest.mark.parametrize("name", sorted(TRACE_HEADERS))
def test_what_travels_apart_from_a_head_makes_no_difference_in_one_either(name: bytes) -> None:
    """As it is where callers are told apart by that very header."""
    assert key('{"a":1}', headers=((name, b"1"),)) == key('{"a":1}', headers=((name, b"2"),))


@pytest.mark.parametrize("name", [b"baggage", b"sentry-trace", b"x-datadog-parent-id", b"cf-ray"])
def test_no_tracer_or_gateway_keeps_requests_apart(name: bytes) -> None:
    """Theirs differ with every request."""
    assert key('{"a":1}', headers=((name, b"1"),)) == key('{"a":1}', headers=((name, b"2"),))


def test_a_client_can_opt_out() -> None:
    head = Head(b"POST", CHAT, CHAT.encode(), HEADERS, Route.MERGE, opted_out=True)
    assert key_of(Request(head, b'{"seed":1}', "r")) is NotMerged.OPTED_OUT


def test_tenants_never_share() -> None:
    heads = [
        Head(b"POST", CHAT, CHAT.encode(), HEADERS, Route.MERGE, Caller(tenant))
        for tenant in ("a", "b")
    ]
    one, two = (key_of(Request(head, b'{"seed":1}', "r")) for head in heads)
    assert isinstance(one, bytes)
    assert one != two


# --- streams -------------------------------------------------------------------------------


def test_how_the_answer_is_sent_is_no_part_of_the_question() -> None:
    forms = [
        "",
        ',"stream":false',
        ',"stream":null',
        ',"stream":true',
        ',"stream":true,"stream_options":null',
        ',"stream":true,"stream_options":{"include_usage":true}',
        ',"stream":true,"stream_options":{"include_usage":false}',
    ]
    keys = {key(f'{{"seed":1{form}}}', CHAT) for form in forms}
    assert len(keys) == 1
    assert isinstance(keys.pop(), bytes)


@pytest.mark.parametrize(
    "form",
    [
        ',"stream":"true"',
        ',"stream":1',
        ',"stream":true,"stream_options":{"continuous_usage_stats":true}',
        ',"stream":true,"stream_options":{"include_usage":1}',
        ',"stream":true,"stream_options":[]',
        ',"stream_options":{"include_usage":true}',
        ',"stream":false,"stream_options":{"include_usage":true}',
    ],
)
def test_what_is_odd_about_a_stream_is(form: str) -> None:
    assert key(f'{{"seed":1{form}}}', CHAT) != key('{"seed":1}', CHAT)
    assert key(f'{{"seed":1{form}}}', CHAT) != key('{"seed":1,"stream":true}', CHAT)
