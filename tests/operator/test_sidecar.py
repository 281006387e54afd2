"""The sidecar's container: what the spec makes of its environment, its volumes and its engine."""

from __future__ import annotations

import json
from typing import Any

import pytest

from batchfleet_operator import pod
from batchfleet_operator.api import Spec
from batchfleet_operator.config import Config
from batchfleet_operator.decision import Object
from batchfleet_operator.sidecar import quantity


def template(**spec: Any) -> Object:
    wanted = Spec.parse({"engine": {"type": "vLLM", "model": "m"}, **spec})
    return pod.template("chat", 3, wanted, Config())


def environment(**spec: Any) -> dict[str, str]:
    """Without what every pod has."""
    (container,) = template(**spec)["spec"]["initContainers"]
    every = {"UPSTREAM", "LIVE_SETTINGS", "DRAIN_TIMEOUT_SECONDS", "DRAIN_SETTLE_SECONDS"}
    found = {each["name"].removeprefix("BATCHFLEET_"): each["value"] for each in container["env"]}
    assert every <= set(found)
    return {name: value for name, value in found.items() if name not in every}


def test_what_nobody_asked_for_is_left_out() -> None:
    # Another variable in old revisions' pods would be a restart of every fleet.
    assert environment() == {}
    assert environment(worker={}, access={"type": "Open"}) == {}
    assert len(template()["spec"]["volumes"]) == 2


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        (
            {"access": {"type": "APIKeys", "apiKeys": {"secretName": "k"}}},
            {"ACCESS": "APIKeys", "API_KEYS": "/etc/batchfleet/keys"},
        ),
        (
            {
                "access": {
                    "type": "TrustedHeader",
                    "trustedHeader": {"name": "X-Tenant", "from": [{"podLabels": {"a": "b"}}]},
                    "maxPriority": -1,
                }
            },
            {
                "ACCESS": "TrustedHeader",
                "TENANT_HEADER": "X-Tenant",
                "TENANT_MAX_PRIORITY": "-1",
            },
        ),
        ({"access": {"type": "Open", "maxPriority": 0}}, {"TENANT_MAX_PRIORITY": "0"}),
        ({"access": {"prefixCache": "PerTenant"}}, {"PREFIX_CACHE": "PerTenant"}),
        ({"worker": {"accessLogPercent": 0}}, {"ACCESS_LOG_PERCENT": "0"}),
        (
            {"worker": {"tracing": {"endpoint": "http://otel:4318", "percent": 5}}},
            {"TRACES_ENDPOINT": "http://otel:4318", "TRACES_PERCENT": "5"},
        ),
        (
            {"worker": {"tracing": {"endpoint": "http://otel:4318"}}},
            {"TRACES_ENDPOINT": "http://otel:4318"},
        ),
        (
            {"worker": {"resources": {"limits": {"memory": "1.5Gi"}}}},
            {"MEMORY_BYTES": str(768 * 2**20)},
        ),
        ({"worker": {"resources": {"limits": {"cpu": "2"}}}}, {}),
        (
            {"engine": {"type": "vLLM", "model": "m", "schedulingPolicy": "priority"}},
            {"ENGINE_PRIORITY": "Negate"},
        ),
        ({"engine": {"type": "vLLM", "model": "m", "schedulingPolicy": "fcfs"}}, {}),
    ],
)
def test_each_field_is_a_variable(spec: dict[str, Any], expected: dict[str, str]) -> None:
    assert environment(**spec) == expected


def test_warmup_prompts_arrive_as_they_were_written() -> None:
    prompts = ["Grüße, 世界", "price: $5, $$, $(BATCHFLEET_UPSTREAM)", 'a "quoted"\nline']
    (value,) = environment(worker={"warmupPrompts": prompts}).values()
    assert json.loads(expanded_by_kubernetes(value)) == prompts


def expanded_by_kubernetes(value: str) -> str:
    """Each $$ becomes $; a $(NAME) that is left would be replaced."""
    assert "$(" not in value.replace("$$", "")
    return value.replace("$$", "$")


def test_keys_are_mounted_read_only_and_a_missing_secret_stops_no_pod() -> None:
    made = template(access={"type": "APIKeys", "apiKeys": {"secretName": "chat-keys"}})["spec"]
    (container,) = made["initContainers"]
    (mount,) = [m for m in container["volumeMounts"] if m["mountPath"] == "/etc/batchfleet/keys"]
    assert mount["readOnly"]
    (volume,) = [each for each in made["volumes"] if each["name"] == mount["name"]]
    assert volume["secret"] == {"secretName": "chat-keys", "optional": True}
    (engine,) = made["containers"]
    assert mount["name"] not in {each["name"] for each in engine["volumeMounts"]}


@pytest.mark.parametrize(
    ("worker", "host"),
    [({}, "127.0.0.1"), ({"bypass": "Disabled"}, "127.0.0.1"), ({"bypass": "Allowed"}, "0.0.0.0")],
)
def test_the_engine_listens_to_clients_only_where_they_may_pass(
    worker: dict[str, Any], host: str
) -> None:
    (engine,) = template(worker=worker)["spec"]["containers"]
    assert f"--host={host}" in engine["args"]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1", 1),
        ("1500m", 1),
        ("2k", 2000),
        ("2Ki", 2048),
        ("3M", 3_000_000),
        ("512Mi", 536_870_912),
        ("1.5Gi", 1_610_612_736),
        ("2G", 2_000_000_000),
        ("1Ti", 2**40),
    ],
)
def test_quantities(text: str, value: int) -> None:
    assert quantity(text) == value
