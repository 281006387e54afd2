"""What a service's numbers become when some of them are missing."""

from __future__ import annotations

import math
from dataclasses import fields
from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from batchfleet_operator.metering import answers, promql
from batchfleet_operator.metering.answers import Alert, Answer, Found, Sample
from batchfleet_operator.metering.signals import Reading, Signals
from batchfleet_operator.store import Key

NOW = datetime(2026, 1, 1, tzinfo=UTC)
CHAT = Key("team", "chat")
ALL = {
    "offered_per_second": 10.0,
    "completed_per_second": 8.0,
    "joined_share": 0.2,
    "in_flight": 20.0,
    "queued": 3.0,
    "queued_batch": 1.0,
    "waiting": 4.0,
    "kv_usage": 1.5,
    "prompt_tokens": 100.0,
    "output_tokens": 50.0,
    "utilisation": 0.5,
    "kv_pods": 3.0,
    "targets": 3.0,
    "targets_up": 3.0,
    "fresh_pods": 3.0,
}
NEEDS = {"queued": {"queued", "waiting"}, "kv_usage": {"kv_usage"}}
"""What a signal is made of, where that is not its own name."""
NUMBERS = [each.name for each in promql.SIGNALS if each.name != "waiting"]


def sample(signal: str, value: float, **labels: str) -> Sample:
    own = {"namespace": "team", "service": "chat", "signal": signal}
    return Sample(own | labels, value)


def found(numbers: dict[str, float]) -> Found:
    answer = Answer("vector", [sample(name, value) for name, value in numbers.items()])
    return answers.found(answers.by_service([answer])[CHAT])


def signals(numbers: dict[str, float], *, engine_tells: bool = True) -> Signals:
    return answers.signals(found(numbers), NOW, engine_tells=engine_tells)


@given(missing=st.sets(st.sampled_from(sorted(ALL.keys() - {"kv_pods", "fresh_pods"}))))
def test_what_is_missing_is_not_known_and_takes_nothing_with_it(missing: set[str]) -> None:
    whole = signals(ALL)
    partial = signals({name: value for name, value in ALL.items() if name not in missing})
    for name in NUMBERS:
        if missing & NEEDS.get(name, {name}):
            assert getattr(partial, name) is None
        elif name != "in_flight":  # without those that wait in engines it is only known to be less
            assert getattr(partial, name) == getattr(whole, name)


@given(name=st.sampled_from(NUMBERS), value=st.sampled_from([math.nan, math.inf, -math.inf]))
def test_what_is_no_number_is_missing(name: str, value: float) -> None:
    assert getattr(signals(ALL | {name: value}), name) is None


@given(mute=st.integers(1, 3), tells=st.booleans())
def test_what_only_some_engines_tell_is_not_told(mute: int, tells: bool) -> None:
    partial = signals(ALL | {"mute_pods": mute}, engine_tells=tells)
    assert (partial.kv_usage, partial.queued) == (None, None)
    assert partial.offered_per_second == 10
    assert f"{mute} pods" in partial.message


def test_an_engine_that_has_no_metrics_lacks_none() -> None:
    sidecars = {n: v for n, v in ALL.items() if n not in ("waiting", "kv_usage", "kv_pods")}
    alone = signals(sidecars | {"mute_pods": 3}, engine_tells=False)
    assert (alone.queued, alone.in_flight, alone.kv_usage) == (3, 20, None)
    lost = signals(sidecars | {"mute_pods": 3}, engine_tells=True)
    assert (lost.queued, lost.kv_usage) == (None, None)


def test_calls_that_wait_in_engines_are_counted_once() -> None:
    both = signals(ALL)
    assert (both.in_flight, both.queued) == (16, 7)


def test_pods_that_were_scraped_once_have_no_rates_yet() -> None:
    young = signals({"fresh_pods": 1, "in_flight": 1, "queued": 0})
    assert (young.state, young.offered_per_second, young.in_flight) == ("Missing", None, 1)


def test_a_cache_of_unknown_size_is_unknown() -> None:
    blocks = [
        sample("kv_blocks", 2, block_size="16", num_gpu_blocks="1000"),
        sample("kv_blocks", 1, block_size="16", num_gpu_blocks="None"),
    ]
    known = answers.found([*blocks[:1], sample("kv_pods", 2)])
    unknown = answers.found([*blocks[1:], sample("kv_pods", 1)])
    assert answers.signals(known, NOW, engine_tells=True).kv_tokens_per_pod == 16_000
    assert answers.signals(unknown, NOW, engine_tells=True).kv_tokens_per_pod is None


def test_every_signal_has_a_definition() -> None:
    made = {"at", "state", "message", "fresh_pods", "offered_slope", "kv_tokens_per_pod"}
    assert {each.name for each in fields(Signals)} - made == set(NUMBERS)


def test_a_rules_number_with_those_of_its_pods() -> None:
    told = [
        sample("Load value", 0.1),
        sample("Load samples", 200),
        sample("Load value", 0.2, pod="chat-0"),
        sample("Load value", math.nan, pod="chat-1"),
        sample("Load samples", 100, pod="chat-0"),
    ]
    reading = answers.readings(told, NOW)["Load"]
    assert (reading.value, reading.samples, reading.baseline) == (0.1, 200, None)
    assert (reading.by_pod, reading.samples_by_pod) == ({"chat-0": 0.2}, {"chat-0": 100})


def errors(pods: dict[str, dict[str, float]]) -> Reading:
    told = [
        sample(f"ErrorRate {part}", value, pod=pod)
        for pod, parts in pods.items()
        for part, value in parts.items()
    ]
    return answers.readings(told, NOW)["ErrorRate"]


def test_errors_add_up_over_pods() -> None:
    told = errors(
        {
            "chat-0": {"good": 90.0, "failed": 30.0, "busy": 20.0, "broken": 0.0},
            "chat-1": {"good": 100.0, "failed": 0.0, "broken": 5.0},
        }
    )
    assert told.by_pod == {"chat-0": 0.1, "chat-1": 0.05}
    assert told.samples_by_pod == {"chat-0": 100.0, "chat-1": 100.0}
    assert (told.value, told.samples) == (10 / 200, 200.0)


def test_errors_of_which_a_part_is_missing_are_told_of_the_rest() -> None:
    """As the query for rules and pictures does: an engine that never broke a stream has no
    series for it."""
    assert errors({"a": {"good": 10.0}}).value is None  # nothing says how many failed
    assert errors({"a": {"good": 9.0, "broken": 1.0}}).value == 1 / 9
    assert errors({"a": {"good": 0.0, "failed": 0.0}}).value is None
    assert errors({"a": {"good": 0.0, "failed": 0.0}}).samples == 0.0
    assert errors({"a": {"good": 8.0, "failed": 2.0, "rejected": 9.0}}).value == 0.0
    assert errors({"a": {"good": math.nan, "failed": 1.0}}).value is None
    assert errors({"a": {"broken": 1.0}}).samples is None


def test_one_number_or_none_or_why_there_never_will_be() -> None:
    def one(answer: Answer) -> tuple[float | None, bool]:
        value, problem = answers.one_number(answer, "query")
        return value, problem is not None

    series = Sample({"pod": "a"}, 2.0)
    assert one(Answer("scalar", [Sample({}, 1.0)])) == (1.0, False)
    assert one(Answer("vector", [series])) == (2.0, False)
    assert one(Answer("vector")) == (None, False)
    assert one(Answer("vector", [Sample({}, math.nan)])) == (None, False)
    assert one(Answer("vector", [series], warnings=["a store did not answer"])) == (None, False)
    assert one(Answer("vector", [series, series])) == (None, True)
    assert one(Answer("matrix")) == (None, True)
    assert one(Answer("string")) == (None, True)


def test_an_alert_counts_where_it_names_this_service_or_none() -> None:
    def state(*alerts: Alert) -> object:
        return answers.alert([Alert("Slow", "inactive"), *alerts], "Slow", CHAT)

    assert state() == ("inactive", None)
    assert state(Alert("Slow", "firing")) == ("firing", None)
    assert state(Alert("Slow", "pending", {"service": "chat"})) == ("pending", None)
    assert state(Alert("Slow", "firing", {"service": "other"})) == ("inactive", None)
    assert state(Alert("Slow", "firing", {"namespace": "elsewhere"})) == ("inactive", None)
    assert state(Alert("Slow", "pending"), Alert("Slow", "firing")) == ("firing", None)
    assert state(Alert("Slow", None)) == (None, None)
    assert state(Alert("Slow", None, problem="it fails")) == (None, "it fails")
    assert answers.alert([], "Slow", CHAT)[1] == "Prometheus has no alert rule named Slow"
