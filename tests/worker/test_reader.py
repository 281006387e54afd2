"""However a client's bytes are cut into reads, the same requests come out."""

from __future__ import annotations

import itertools
from typing import NamedTuple

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from batchfleet_worker.access import TrustedHeader
from batchfleet_worker.errors import INVALID_API_KEY
from batchfleet_worker.exchange import Caller, Headers, Refusal, Request, ResponseHead
from batchfleet_worker.heads import Filling, Heads
from batchfleet_worker.intake import Intake
from batchfleet_worker.memory import Budget
from batchfleet_worker.messages import Asked
from batchfleet_worker.openai import Routes
from batchfleet_worker.reader import PIPELINED, RequestReader

bodies = st.binary(max_size=300)
header_values = st.text(st.characters(codec="latin-1", exclude_characters="\r\n\0"), max_size=20)


def plain(body: bytes, value: str) -> bytes:
    return b"POST /v1/completions HTTP/1.1\r\nHost: h\r\nX: %b\r\nContent-Length: %d\r\n\r\n%b" % (
        "".join(c for c in value if c.isprintable()).encode("latin-1"),
        len(body),
        body,
    )


def chunked(body: bytes, value: str) -> bytes:
    pieces = [body[start : start + 7] for start in range(0, len(body), 7)]
    return (
        b"POST /v1/embeddings HTTP/1.1\r\nhost: h\r\nTransfer-Encoding: chunked\r\n\r\n"
        + b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces)
        + b"0\r\nTrailer: t\r\n\r\n"
    )


def upgrading(body: bytes, value: str) -> bytes:
    return b"POST /v1/score HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n" + (
        b"Content-Length: %d\r\n\r\n%b" % (len(body), body)
    )


def unknown(body: bytes, value: str) -> bytes:
    return b"POST /nope HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)


def garbage(body: bytes, value: str) -> bytes:
    return b"GET / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n"


messages = st.lists(
    st.builds(
        lambda kind, body, value: kind(body, value),
        st.sampled_from([plain, chunked, upgrading, unknown, garbage]),
        bodies,
        header_values,
    ),
    min_size=1,
    max_size=5,
)


class Wished(NamedTuple):
    """A manner, field by field."""

    keep_alive: bool
    http10: bool
    bodiless: bool
    allow: bytes


class Answerless(NamedTuple):
    """A message, field by field."""

    what: tuple[object, ...]
    request_id: str
    manner: Wished


def seen(asked: Asked) -> Answerless:
    what, request_id, wish = asked
    manner = Wished(wish.keep_alive, wish.http10, wish.bodiless, wish.allow)
    if isinstance(what, Refusal):
        return Answerless((what,), request_id, manner)
    head = what.head
    return Answerless(
        (
            (head.method, head.path, head.target, head.headers, head.route, head.caller),
            (head.priority, head.timeout_seconds, head.opted_out),
            (what.body, what.request_id, what.rest, what.own),
        ),
        request_id,
        manner,
    )


def intake(memory_bytes: int = 8000) -> Intake:
    return Intake(Routes(), lambda: "id", 1000, 1000, Budget(memory_bytes))


def llhttp_only() -> Intake:
    """Knows no heads: every message is parsed."""
    parsing = intake()
    parsing.heads = Heads(lambda head, filling: None)
    return parsing


def read(pieces: list[bytes], among: Intake | None = None) -> list[Answerless]:
    among = among or intake()
    reader = RequestReader(among)
    for piece in pieces:
        rest = piece
        while rest:
            rest = reader.feed(rest)
    asked = [seen(one) for one in reader.asked]
    reader.close()
    assert among.budget.used_bytes == 0
    return asked


def cut(stream: bytes, cuts: list[int]) -> list[bytes]:
    edges = sorted({0, len(stream), *(cut % (len(stream) + 1) for cut in cuts)})
    return [stream[a:b] for a, b in itertools.pairwise(edges)]


@given(messages, st.lists(st.integers(0, 2000)))
def test_cuts_do_not_matter(sent: list[bytes], cuts: list[int]) -> None:
    stream = b"".join(sent)
    assert read(cut(stream, cuts)) == read([stream], llhttp_only())


@given(messages)
def test_every_message_before_the_first_malformed_one_comes_out_once(sent: list[bytes]) -> None:
    bad = garbage(b"", "")
    good = sent.index(bad) if bad in sent else len(sent)
    asked = read([b"".join(sent)])
    assert len(asked) == min(good + 1, len(sent))
    assert [one.manner.keep_alive for one in asked[:good]] == [True] * good


@given(st.binary(max_size=2000))
def test_arbitrary_bytes_never_raise_and_ask_little(data: bytes) -> None:
    assert len(read([data])) <= len(data) // 16 + 1


def test_what_is_parsed_but_not_served_is_bounded() -> None:
    asked = read([plain(b"", "") * 2000])
    assert len(asked) == PIPELINED + 1
    assert isinstance(asked[-1].what[0], Refusal)
    assert not asked[-1].manner.keep_alive


# Lines that a head may be made of, well and badly written: what is known by its bytes must mean
# the same as what is parsed.
LINES = [
    b"Host: h\r\n",
    b"host: h\r\n",
    b"Content-Length: 5\r\n",
    b"content-length: 5\r\n",
    b"CONTENT-LENGTH: 5\r\n",
    b"Content-Length: 0\r\n",
    b"Content-Length: 005\r\n",
    b"Content-Length: +5\r\n",
    b"Content-Length: -5\r\n",
    b"Content-Length:5\r\n",
    b"Content-Length : 5\r\n",
    b"Content-Length:  5\r\n",
    b"Content-Length: 5 \r\n",
    b"Content-Length: 5, 5\r\n",
    b"Content-Length: 5\n",
    b"Content-Length: 5\rX: y\r\n",
    b"Content-Length: \r\n",
    b"Content-Length: 1001\r\n",
    b"Content-Length: 9999999999\r\n",
    b"Content-Length: 18446744073709551616\r\n",
    b"Content-Length: 5\0\r\n",
    b"Content-Length: \xb2\r\n",
    b"X-Request-Id: abc\r\n",
    b"X-Request-ID: other.id-1\r\n",
    b"x-request-id:close\r\n",
    b"x-request-id: not sane\r\n",
    b"x-request-id: \0\r\n",
    b"X: y\r\n",
    b"X: \r\n",
    b"X: folded\r\n Content-Length: 7\r\n",
    b"X: folded\r\n X-Request-Id: abc\r\n",
    b"traceparent: 00-0af7-b7ad-01\r\n",
    b"traceparent: 00-1be8-c8be-00\r\n",
    b"Traceparent: 00-0af7-b7ad-01\r\n",
    b"TRACEPARENT:00-0af7-b7ad-01\r\n",
    b"traceparent : 00\r\n",
    b"traceparent:  00\r\n",
    b"traceparent: 00 \r\n",
    b"traceparent: 00\t\r\n",
    b"traceparent: 00\n",
    b"traceparent: 00\rX: y\r\n",
    b"traceparent: \r\n",
    b"traceparent: \0\r\n",
    b"traceparent: \xff\r\n",
    b"traceparent: folded\r\n Content-Length: 7\r\n",
    b"traceparent: " + b"0" * 512 + b"\r\n",
    b"traceparent: " + b"0" * 513 + b"\r\n",
    b"tracestate: a=1, b=\x7f\r\n",
    b"tracestate: a=1, b=2: 3\r\n",
    b"x-correlation-id: Content-Length: 5\r\n",
    b"X-B3-TraceId: 4f\r\n",
    b"x-b3-traceidx: 4f\r\n",
    b"Connection: traceparent, keep-alive\r\n",
    b"Connection: x-request-id\r\n",
    b"Connection: close\r\n",
    b"Connection: keep-alive\r\n",
    b"Connection: x\r\n",
    b"Connection: Upgrade\r\nUpgrade: websocket\r\n",
    b"Expect: 100-continue\r\n",
    b"Expect: magic\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"Transfer-Encoding: identity\r\n",
    b"x-batchfleet-priority: 5\r\n",
    b"x-batchfleet-priority: high\r\n",
    b"x-batchfleet-timeout-ms: 1500\r\n",
    b"x-batchfleet-merge: off\r\n",
    b"\r\n",
    b"\n",
    b"\0\r\n",
]
FIRST_LINES = [
    b"POST /v1/completions HTTP/1.1\r\n",
    b"POST /v1/completions HTTP/1.0\r\n",
    b"GET /v1/models HTTP/1.1\r\n",
    b"HEAD /v1/models HTTP/1.1\r\n",
    b"\r\nPOST /v1/completions?q HTTP/1.1\r\n",
    b"\r\n\r\nPOST /v1/completions HTTP/1.1\r\n",
    b"\r\ntraceparent: 00\r\nPOST /v1/completions HTTP/1.1\r\n",
    b"POST /v1/%63ompletions HTTP/1.1\r\n",
    b"POST /nope HTTP/1.1\r\n",
    b"POST /v1/completions HTTP/1.1\n",
    b"CONNECT pod:80 HTTP/1.1\r\n",
]
heads = st.builds(
    lambda first, lines, body: first + b"".join(lines) + b"\r\n" + body,
    st.sampled_from(FIRST_LINES),
    st.lists(st.sampled_from(LINES), max_size=5),
    st.sampled_from([b"", b"abcde", b"5\r\nabcde\r\n0\r\n\r\n"]),
)
OWN = [b"traceparent", b"Traceparent", b"tracestate", b"b3", b"X-Request-Id", b"x-request-id"]
values = st.sampled_from([b"00-0af7-01", b"a=1, b=2", b"7"]) | st.binary(max_size=4)


def alike(names: list[bytes], said: list[bytes], length: int) -> bytes:
    """A head of which only what it says under these names, and its length, is ever different."""
    lines = b"".join(b"%b: %b\r\n" % line for line in zip(names, said, strict=False))
    return (
        b"POST /v1/completions HTTP/1.1\r\nHost: h\r\nX: y\r\n%bContent-Length: %d\r\n\r\n%b"
    ) % (lines, length, b"x" * length)


families = st.lists(st.sampled_from(OWN), max_size=3).flatmap(
    lambda names: st.lists(
        st.builds(
            alike,
            st.just(names),
            st.lists(values, min_size=len(names), max_size=len(names)),
            st.integers(0, 1001),
        ),
        min_size=1,
        max_size=4,
    )
)


@given(
    st.lists(heads, min_size=1, max_size=4) | families,
    st.lists(st.integers(0, 2000), max_size=4),
)
@example([b"POST /v1/completions HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n"] * 2, [])
def test_a_known_head_means_what_a_parsed_one_means(sent: list[bytes], cuts: list[int]) -> None:
    stream = b"".join(sent)
    parsed = read([stream], llhttp_only())
    knowing = intake()
    # On one connection, cut anyhow; then on another, where every head has been seen.
    assert read(cut(stream, cuts), knowing) == parsed
    assert read([stream], knowing) == parsed
    assert read(sent, knowing) == parsed


@pytest.mark.parametrize("first", FIRST_LINES)
def test_no_way_of_writing_a_head_hides_its_body(first: bytes) -> None:
    """What one reader takes for a body and another for a request is how requests are smuggled."""
    smuggled = b"GET /v1/models HTTP/1.1\r\nHost: h\r\nX: smuggled\r\n\r\n"
    for line in LINES:
        one = first + b"Host: h\r\n" + line + b"\r\n"
        stream = (one + smuggled) * 2
        parsed = read([stream], llhttp_only())
        knowing = intake()
        assert read([stream], knowing) == parsed
        assert read([one, smuggled, one, smuggled], knowing) == parsed
        assert read([stream[:-9], stream[-9:]], knowing) == parsed


def test_heads_that_differ_in_length_id_and_trace_only_are_known() -> None:
    among = intake()
    for number in range(100):
        lines = b"X-Request-Id: id-%d\r\nTraceParent: 00-%d\r\nX:" % (number, number)
        ((what, request_id, _),) = read([plain(b"x" * number, "v").replace(b"X:", lines)], among)
        assert request_id == f"id-{number}"
        own = b"traceparent: 00-%d\r\n" % number
        assert what[2] == (b"x" * number, f"id-{number}", None, own)
    assert len(among.heads) == 1


def test_a_character_that_no_head_may_hold_is_no_hole() -> None:
    """Nor may anybody be given another's id for it."""
    among = intake()
    good = plain(b"", "v").replace(b"X:", b"X-Request-Id: mine\r\nX:")
    bad = good.replace(b"mine", b"\0")
    assert read([good, good], among) == read([good, good], llhttp_only())
    assert read([bad], among) == read([bad], llhttp_only())


def test_a_header_that_tells_callers_apart_is_never_taken_out_of_the_head() -> None:
    gateway = TrustedHeader("X-Correlation-Id", 0)
    among = Intake(Routes(), lambda: "id", 1000, 1000, Budget(8000), gateway)
    reader = RequestReader(among)
    for tenant in (b"a", b"b", b"a"):
        reader.feed(plain(b"{}", "v").replace(b"X:", b"x-correlation-id: %b\r\nX:" % tenant))
        what, _, _ = reader.asked.popleft()
        assert isinstance(what, Request)
        assert what.head.caller.tenant == tenant.decode()
        assert (b"x-correlation-id", tenant) in what.head.headers


def test_what_is_known_is_bounded_and_what_is_used_stays() -> None:
    calls: list[bytes] = []

    def judge(head: bytes, filling: Filling) -> ResponseHead:
        calls.append(head)
        return ResponseHead(200, (), 0)

    heads = Heads(judge, kept_bytes=2000)
    used = b"GET / HTTP/1.1\r\n\r\n"
    for number in range(1000):
        heads.find(b"GET /%d HTTP/1.1\r\n\r\n" % number, None)
        heads.find(used, None)
        assert len(heads) < 200
    assert calls.count(used) == 1


def test_a_caller_who_is_no_longer_known_is_refused_on_a_kept_connection() -> None:
    class Keys:
        reads = stops = frozenset({b"authorization"})
        generation = 1
        good = True

        def identify(self, headers: Headers) -> Caller | Refusal:
            return Caller("t", 7) if self.good else INVALID_API_KEY

    keys = Keys()
    among = Intake(Routes(), lambda: "id", 1000, 1000, Budget(8000), keys)
    reader = RequestReader(among)
    message = plain(b"{}", "v").replace(
        b"X:", b"Authorization: Bearer k\r\nx-batchfleet-priority: 9\r\nX:"
    )
    for _ in range(2):
        assert reader.feed(message) == b""
        what, _, _ = reader.asked.popleft()
        assert isinstance(what, Request)
        assert what.head.caller.tenant == "t"
        assert what.head.priority == 7
        assert what.head.headers == ((b"x", b"v"),)
    keys.good, keys.generation = False, 2
    reader.feed(message)
    assert reader.asked.popleft()[0] is INVALID_API_KEY


@pytest.mark.parametrize(
    ("said", "code"),
    [
        (b"x-batchfleet-priority: high", "invalid_priority"),
        (b"x-batchfleet-priority: 1.5", "invalid_priority"),
        (b"x-batchfleet-timeout-ms: 0", "invalid_timeout"),
        (b"x-batchfleet-timeout-ms: soon", "invalid_timeout"),
    ],
)
def test_a_header_of_ours_that_says_nothing_is_refused(said: bytes, code: str) -> None:
    (asked,) = read([plain(b"{}", "v").replace(b"X:", said + b"\r\nX:")])
    (refusal,) = asked.what
    assert isinstance(refusal, Refusal)
    assert (refusal.status, refusal.code) == (400, code)
    assert asked.manner.keep_alive
