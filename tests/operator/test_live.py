"""The settings file that a revision's sidecars read: profiles, shares of rates, what is unset."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchfleet_operator.api import Engine, Spec
from batchfleet_operator.api.batching import ProfileName
from batchfleet_operator.live import settings
from batchfleet_operator.profiles import NONE, PROFILES

ENGINE = {"type": "vLLM", "model": "m", "maxNumSeqs": 64}


def written(pods: int = 1, **spec: Any) -> dict[str, Any]:
    made = settings(Spec.parse({"engine": ENGINE, **spec}), Engine.parse(ENGINE), pods)
    return dict(json.loads(made.text))


def test_what_nobody_asked_for_is_left_out() -> None:
    # To the byte what the operator before wrote: sidecars that run refuse fields they do not know,
    # and a file that differs would tell every pod in the cluster to look again.
    text = settings(Spec.parse({"engine": ENGINE}), Engine.parse(ENGINE), 3).text
    written_before = {
        "batching": {"maxBatchSize": 64, "maxWaitMilliseconds": 0, "maxQueueLength": 1000},
        "merging": {"mode": "Enforce"},
        "requests": {"timeoutSeconds": 300},
    }
    assert text == json.dumps(written_before, indent=2) + "\n"


@pytest.mark.parametrize(
    ("profile", "batching", "queue_timeout"),
    [
        (
            "LowLatency",
            {"mode": "Adaptive", "targetInterTokenMilliseconds": 25, "maxQueueLength": 200},
            5,
        ),
        (
            "Balanced",
            {"mode": "Adaptive", "targetInterTokenMilliseconds": 50, "maxQueueLength": 1000},
            None,
        ),
        ("HighThroughput", {"maxQueueLength": 10_000}, None),
    ],
)
def test_a_profile_fills_what_is_unset(
    profile: str, batching: dict[str, Any], queue_timeout: int | None
) -> None:
    made = written(batching={"profile": profile})
    assert made["batching"] == {"maxBatchSize": 64, "maxWaitMilliseconds": 0, **batching}
    assert made["requests"].get("queueTimeoutSeconds") == queue_timeout


@given(
    profile=st.sampled_from(list(PROFILES)),
    mode=st.none() | st.sampled_from(["Fixed", "Adaptive"]),
    target=st.none() | st.integers(1, 10_000),
    queue=st.none() | st.integers(0, 100_000),
    wait=st.none() | st.integers(0, 60_000),
    patience=st.none() | st.integers(1, 86_400),
)
def test_what_is_written_wins_over_every_profile(
    profile: ProfileName,
    mode: str | None,
    target: int | None,
    queue: int | None,
    wait: int | None,
    patience: int | None,
) -> None:
    said = {
        "mode": mode,
        "targetInterTokenMilliseconds": target,
        "maxQueueLength": queue,
        "maxWaitMilliseconds": wait,
    }
    made = written(
        batching={"profile": profile} | {k: v for k, v in said.items() if v is not None},
        requests={} if patience is None else {"queueTimeoutSeconds": patience},
    )
    filled = PROFILES[profile]
    batching = made["batching"]
    assert batching.get("mode", "Fixed") == (mode or filled.mode)
    assert batching["maxQueueLength"] == (filled.max_queue_length if queue is None else queue)
    assert batching["maxWaitMilliseconds"] == (wait or 0)
    assert made["requests"].get("queueTimeoutSeconds") == (
        filled.queue_timeout_seconds if patience is None else patience
    )
    if batching.get("mode") == "Adaptive":
        aim = filled.target_inter_token_milliseconds if target is None else target
        assert batching["targetInterTokenMilliseconds"] == aim
    else:
        assert "targetInterTokenMilliseconds" not in batching


def test_without_a_profile_adaptive_aims_at_the_default() -> None:
    made = written(batching={"mode": "Adaptive"})
    aim = NONE.target_inter_token_milliseconds
    assert made["batching"]["targetInterTokenMilliseconds"] == aim == 50


def test_every_live_field_is_written() -> None:
    made = written(
        batching={"modelLimits": [{"model": "a", "maxBatchSize": 8}]},
        merging={"cacheTTLSeconds": 30, "cacheMebibytes": 128},
        requests={"reservedSlotsPercent": 0, "maxConnectionAgeSeconds": 0},
    )
    assert made["batching"]["modelLimits"] == [{"model": "a", "maxBatchSize": 8}]
    assert made["merging"] == {"mode": "Enforce", "cacheTTLSeconds": 30, "cacheMebibytes": 128}
    assert made["requests"]["reservedSlotsPercent"] == 0
    assert made["requests"]["maxConnectionAgeSeconds"] == 0


def test_each_ready_pod_gets_its_share_of_the_services_rates() -> None:
    limits = [
        {"scope": "Service", "tokensPerMinute": 1_000_000},
        {"scope": "Tenant", "requestsPerMinute": 600},
        {"scope": "Tenant", "tenant": "a", "requestsPerMinute": 10},
    ]
    assert written(3, requests={"rateLimits": limits})["requests"]["rateLimits"] == [
        {"scope": "Service", "tokensPerMinute": 333333.0},
        {"scope": "Tenant", "requestsPerMinute": 200.0},
        {"scope": "Tenant", "tenant": "a", "requestsPerMinute": 3.33333},
    ]
    alone = written(1, requests={"rateLimits": limits})
    assert written(0, requests={"rateLimits": limits}) == alone  # the first pod finds its settings


@given(rate=st.integers(1, 10**12), pods=st.integers(1, 1000))
def test_the_shares_add_up_to_the_rate(rate: int, pods: int) -> None:
    limits = [{"scope": "Service", "tokensPerMinute": rate}]
    (limit,) = written(pods, requests={"rateLimits": limits})["requests"]["rateLimits"]
    assert limit["tokensPerMinute"] * pods == pytest.approx(rate, rel=1e-5)
    assert limit["tokensPerMinute"] > 0


@given(one=st.integers(0, 1000), other=st.integers(0, 1000))
def test_without_rates_the_number_of_pods_changes_nothing(one: int, other: int) -> None:
    assert written(one) == written(other)
