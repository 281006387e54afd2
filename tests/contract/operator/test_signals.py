"""What a real Prometheus says of a service, and of one that it does not find."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from batchfleet_operator.metering.signals import Signals
from tests.contract.operator.measured import About, config, look, number, reading, service, signals
from tests.support.eventually import eventually
from tests.support.prometheus import Pages, Pod, RealPrometheus


def test_a_service_with_all_metrics(watched: About) -> None:
    found = signals(watched("chat"))
    assert (found.state, found.message, found.fresh_pods) == ("Found", "", 3)
    assert found.offered_per_second == pytest.approx(30, rel=0.05)
    assert found.completed_per_second == pytest.approx(24, rel=0.05)
    assert found.joined_share == pytest.approx(0.2, rel=0.05)
    assert found.in_flight == 3 * (24 - 4)
    assert found.queued == 3 * (3 + 4)
    assert found.queued_batch == 0
    assert found.kv_usage == pytest.approx(1.5)
    assert found.kv_tokens_per_pod == 16_000
    assert found.prompt_tokens == pytest.approx(200, rel=0.05)
    assert found.output_tokens == pytest.approx(50, rel=0.05)
    assert found.utilisation == pytest.approx(24 / 64)


def test_an_engine_without_metrics_is_sized_by_the_sidecars_alone(watched: About) -> None:
    found = signals(watched("custom"))
    assert (found.state, found.fresh_pods) == ("Found", 1)
    assert found.offered_per_second == pytest.approx(4, rel=0.05)
    assert (found.in_flight, found.queued) == (5, 1)
    assert number(found.prompt_tokens) == pytest.approx(100)
    assert number(found.output_tokens) == pytest.approx(40)
    assert (found.kv_usage, found.kv_tokens_per_pod, found.utilisation) == (None, None, None)
    assert reading(watched("custom"), "load").value is None
    latency = reading(watched("custom"), "requestlatency")
    assert 2 < number(latency.value) <= 5
    assert latency.samples == pytest.approx(4 * 60, rel=0.05)
    assert latency.queue_share == pytest.approx(1.2 / 3, rel=0.05)


def test_an_engine_times_requests_only_where_the_sidecar_does_not(watched: About) -> None:
    before, now = (reading(watched(name), "requestlatency") for name in ("before", "chat"))
    assert 0.5 < number(before.value) <= 1.0
    assert before.samples == pytest.approx(8 * 60, rel=0.05)
    assert before.queue_share == pytest.approx((0.02 + 0.1) / (0.02 + 0.5), rel=0.1)
    assert now.samples == pytest.approx(30 * 60, rel=0.05)


def test_older_names_of_the_engines_metrics(watched: About) -> None:
    assert signals(watched("older")).kv_usage == pytest.approx(0.25)


def test_a_part_of_the_engines_is_not_taken_for_all(watched: About) -> None:
    found = signals(watched("partial"))
    assert (found.kv_usage, found.queued) == (None, None)
    assert found.fresh_pods == 2
    assert found.offered_per_second == pytest.approx(20, rel=0.05)
    assert "1 pods that take requests have no metrics" in found.message


def test_nothing_is_found_of_a_service_that_is_not_scraped(watched: About) -> None:
    found = signals(watched("unknown"))
    assert (found.state, found.offered_per_second, found.fresh_pods) == ("NotScraped", None, None)
    assert "release=kps" in found.message


def test_pods_that_go_are_missed_at_once(tmp_path: Path) -> None:
    pods = [Pod("team", "web", f"web-{i}", in_flight=5) for i in range(2)]
    with Pages(pods) as web, RealPrometheus(tmp_path, targets=web.targets) as prometheus:
        follow_web(web, prometheus)


def follow_web(web: Pages, prometheus: RealPrometheus) -> None:
    until_web(prometheus, lambda found: found.fresh_pods == 2)
    web.silence("web-1")
    alone = until_web(prometheus, lambda found: found.fresh_pods == 1)
    assert alone.in_flight == 5
    assert alone.message == "1 of 2 pods answer Prometheus"
    web.silence("web-0")
    dark = until_web(prometheus, lambda found: found.state == "NotScraped")
    assert (dark.in_flight, dark.offered_per_second) == (None, None)
    assert "cannot scrape" in dark.message


def until_web(prometheus: RealPrometheus, as_wanted: Callable[[Signals], bool]) -> Signals:
    def seen() -> Signals:
        found = signals(look(config(prometheus), service("web", "Custom"))("web"))
        assert as_wanted(found), found
        return found

    return eventually(seen, within_seconds=60, every_seconds=0.2)


def test_samples_that_are_too_old_are_none(prometheus: RealPrometheus) -> None:
    """Its samples are five seconds apart; some of them are older than one second."""

    def stale() -> bool:
        found = signals(look(config(prometheus, max_age_seconds=1), service("chat"))("chat"))
        assert found.in_flight is None
        return found.state == "Stale"

    eventually(stale, within_seconds=60, every_seconds=0.3)
