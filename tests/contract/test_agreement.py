"""What operator and worker must agree on, though neither imports the other.

The operator renders a pod and a file of settings; the worker must read both.  The worker answers on
its admin port; the operator, the kubelet's probes and the hooks must find what they ask for.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from batchfleet_operator import live as operator_live
from batchfleet_operator import names, pod, profiles
from batchfleet_operator import sidecar as operator_sidecar
from batchfleet_operator.api import BatchInferenceService, Engine, Spec
from batchfleet_operator.api.requests import RateLimit
from batchfleet_operator.config import Config
from batchfleet_operator.workers import Workers
from batchfleet_worker import admin, sidecar
from batchfleet_worker import live as worker_live
from batchfleet_worker.access import TrustedHeader, parse
from batchfleet_worker.cli import main
from batchfleet_worker.exchange import Caller
from batchfleet_worker.settings import Settings, from_environment

CONFIG = Config.parse({"images": {"vllm": "vllm:1", "worker": "worker:1"}})
ENGINE: dict[str, Any] = {"type": "vLLM", "model": "m"}


def spec(**fields: Any) -> Spec:
    return Spec.parse({"engine": ENGINE} | fields)


def containers(**fields: Any) -> dict[str, Any]:
    made = pod.template("chat", 1, spec(**fields), CONFIG)["spec"]
    return {each["name"]: each for each in made["initContainers"] + made["containers"]}


SIZE = st.integers(1, 65_540)
RATES = st.fixed_dictionaries({"requestsPerMinute": st.integers(1, 2**31 - 1)}) | (
    st.fixed_dictionaries({"tokensPerMinute": st.integers(1, 10**12)})
)


def optional(**fields: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({}, optional=fields)


BATCHING = optional(
    profile=st.sampled_from(["LowLatency", "Balanced", "HighThroughput"]),
    mode=st.sampled_from(["Fixed", "Adaptive"]),
    maxBatchSize=SIZE,
    maxWaitMilliseconds=st.integers(0, 60_000),
    maxQueueLength=st.integers(0, 100_000),
    targetInterTokenMilliseconds=st.integers(1, 10_000),
    modelLimits=st.dictionaries(st.sampled_from(["m", "adapter/é"]), SIZE).map(
        lambda found: [{"model": model, "maxBatchSize": n} for model, n in found.items()]
    ),
)
MERGING = optional(
    mode=st.sampled_from(["Disabled", "Observe", "Enforce"]),
    cacheTTLSeconds=st.integers(0, 86_400),
    cacheMebibytes=st.integers(1, 16_384),
)
WHOSE = st.sampled_from([("Tenant", None), ("Tenant", "a|b@c"), ("Service", None)])
REQUESTS = optional(
    timeoutSeconds=st.integers(1, 86_400),
    queueTimeoutSeconds=st.integers(1, 86_400),
    reservedSlotsPercent=st.integers(0, 90),
    maxConnectionAgeSeconds=st.integers(0, 86_400),
    rateLimits=st.dictionaries(WHOSE, RATES).map(
        lambda found: [
            {"scope": scope, **({} if tenant is None else {"tenant": tenant}), **rates}
            for (scope, tenant), rates in found.items()
        ]
    ),
)


@given(
    batching=BATCHING,
    merging=MERGING,
    requests=REQUESTS,
    max_num_seqs=st.none() | st.integers(1, 65_536),
    pods=st.integers(0, 1000),
)
def test_the_sidecar_reads_every_settings_file_that_the_schema_allows(
    batching: dict[str, Any],
    merging: dict[str, Any],
    requests: dict[str, Any],
    max_num_seqs: int | None,
    pods: int,
) -> None:
    # What CEL refuses before the operator sees it.
    if "maxWaitMilliseconds" in batching:
        longest = requests.get("timeoutSeconds", 300) * 1000 - 1
        wait = min(batching["maxWaitMilliseconds"], longest)
        batching["maxWaitMilliseconds"] = wait if batching.get("maxQueueLength", 1) else 0
    asked = spec(batching=batching, merging=merging, requests=requests)
    engine = {} if max_num_seqs is None else {"maxNumSeqs": max_num_seqs}
    written = operator_live.settings(asked, Engine.parse(ENGINE | engine), pods)

    read = worker_live.parse(written.text.encode())

    assert isinstance(read, worker_live.LiveSettings), read
    assert worker_live.hash_of(written.text.encode()) == written.hash
    assert read.batching.max_batch_size == written.max_batch_size
    profile = profiles.of(asked)
    assert read.batching.mode == profile.mode
    if profile.mode == "Adaptive":
        aim = profile.target_inter_token_milliseconds
        assert read.batching.target_inter_token_milliseconds == aim
    assert read.batching.max_wait_milliseconds == profile.max_wait_milliseconds
    assert read.batching.max_queue_length == profile.max_queue_length
    assert [as_asked(each) for each in read.batching.model_limits] == batching.get(
        "modelLimits", []
    )
    assert read.merging.mode == merging.get("mode", "Enforce")
    assert read.merging.cache_ttl_seconds == merging.get("cacheTTLSeconds", 0)
    assert read.merging.cache_mebibytes == merging.get("cacheMebibytes", 64)
    assert read.requests.timeout_seconds == requests.get("timeoutSeconds", 300)
    assert read.requests.queue_timeout_seconds == profile.queue_timeout_seconds
    assert read.requests.reserved_slots_percent == requests.get("reservedSlotsPercent", 0)
    assert read.requests.max_connection_age_seconds == requests.get("maxConnectionAgeSeconds", 300)
    for limit, wanted in zip(
        read.requests.rate_limits, requests.get("rateLimits", []), strict=True
    ):
        assert (limit.scope, limit.tenant) == (wanted["scope"], wanted.get("tenant"))
        for share, whole in (
            (limit.requests_per_minute, wanted.get("requestsPerMinute")),
            (limit.tokens_per_minute, wanted.get("tokensPerMinute")),
        ):
            assert (share is None) == (whole is None)
            if share is not None:
                assert share * max(pods, 1) == pytest.approx(whole, rel=1e-5)


def as_asked(limit: worker_live.ModelLimit) -> dict[str, Any]:
    return limit.model_dump(by_alias=True)


def test_the_operator_can_write_every_live_field_that_the_sidecar_knows() -> None:
    asked = spec(
        batching={
            "mode": "Adaptive",
            "maxBatchSize": 8,
            "modelLimits": [{"model": "m", "maxBatchSize": 4}],
        },
        merging={"cacheTTLSeconds": 30, "cacheMebibytes": 64},
        requests={
            "queueTimeoutSeconds": 5,
            "reservedSlotsPercent": 10,
            "maxConnectionAgeSeconds": 60,
            "rateLimits": [
                {"scope": "Tenant", "tenant": "a", "requestsPerMinute": 1, "tokensPerMinute": 1}
            ],
        },
    )
    read = worker_live.parse(operator_live.settings(asked, None, 1).text.encode())
    assert isinstance(read, worker_live.LiveSettings), read
    assert unset(read) == []


def unset(part: BaseModel) -> list[str]:
    """Fields, at any depth, that nobody wrote."""
    found = [name for name in type(part).model_fields if name not in part.model_fields_set]
    for value in dict(part).values():
        for each in value if isinstance(value, tuple) else (value,):
            found += unset(each) if isinstance(each, BaseModel) else []
    return found


def test_what_holds_where_nothing_is_written_is_the_same_on_both_sides() -> None:
    told, default = profiles.of(spec()), worker_live.LiveSettings()
    assert default.batching.mode == told.mode
    assert default.batching.max_queue_length == told.max_queue_length
    assert default.batching.max_wait_milliseconds == told.max_wait_milliseconds
    aim = told.target_inter_token_milliseconds
    assert default.batching.target_inter_token_milliseconds == aim
    assert default.requests.queue_timeout_seconds == told.queue_timeout_seconds
    assert default.requests.timeout_seconds == spec().requests.timeout_seconds
    # What the fields' descriptions say of "unset".
    assert default.requests.reserved_slots_percent == 0
    assert default.requests.max_connection_age_seconds == 300
    assert default.merging.cache_ttl_seconds == 0
    assert default.merging.cache_mebibytes == 64
    assert Settings().tenant_max_priority == 100
    assert Settings().memory_bytes == operator_sidecar.quantity("512Mi") // 2


EVERYTHING: dict[str, Any] = {
    "engine": ENGINE | {"schedulingPolicy": "priority"},
    "access": {"maxPriority": -5},
    "drain": {"timeoutSeconds": 400},
    "worker": {
        "resources": {"limits": {"memory": "1Gi"}},
        "warmupPrompts": ["Grüße", 'a "b"\nc'],
        "bypass": "Allowed",
    },
}


def settings_of(**fields: Any) -> Settings:
    """What a sidecar reads from the environment that the operator renders."""
    made = containers(**fields)[names.SIDECAR]
    return from_environment(
        {each["name"]: each["value"].replace("$$", "$") for each in made["env"]}
    )


def test_the_sidecar_understands_every_field_of_its_pod() -> None:
    settings = settings_of(**EVERYTHING)
    assert settings.access == "Open"
    assert settings.tenant_max_priority == -5
    assert settings.drain_timeout_seconds == 400
    assert settings.engine_priority == "Negate"
    assert settings.memory_bytes == 512 * 2**20
    assert list(settings.prompts) == ["Grüße", 'a "b"\nc']


def test_the_sidecar_logs_and_traces_as_its_pod_says() -> None:
    tracing = {"endpoint": "http://collector:4318", "percent": 7}
    settings = settings_of(worker={"accessLogPercent": 3, "tracing": tracing})
    assert settings.access_log_percent == 3
    assert settings.traces_endpoint == "http://collector:4318"
    assert settings.traces_percent == 7


def test_the_sidecar_looks_for_keys_where_the_secret_is_mounted() -> None:
    access = {"type": "APIKeys", "apiKeys": {"secretName": "keys"}}
    settings = settings_of(access=access)
    mounts = containers(access=access)[names.SIDECAR]["volumeMounts"]
    assert settings.access == "APIKeys"
    assert str(settings.api_keys) in {each["mountPath"] for each in mounts}


def test_the_keys_of_the_example_are_keys_and_its_limits_are_for_their_tenants() -> None:
    path = Path(__file__).parents[2] / "examples" / "api-keys.yaml"
    secret, service = yaml.safe_load_all(path.read_text(encoding="utf-8"))
    keys = parse({name: text.encode() for name, text in secret["stringData"].items()}, 100)
    assert not isinstance(keys, str), keys
    told = {caller.tenant: caller.max_priority for caller in keys.values()}
    assert told == {"search": 500, "reports": -10}
    wanted = BatchInferenceService.of(service).spec
    assert wanted.access.api_keys is not None
    assert wanted.access.api_keys.secret_name == secret["metadata"]["name"]
    named = {limit.tenant for limit in wanted.requests.rate_limits or ()}
    assert named - {None} <= told.keys()


def test_the_sidecar_reads_the_header_that_the_gateway_sets() -> None:
    header = {"name": "X-Tenant", "from": [{"podLabels": {"app": "gateway"}}]}
    settings = settings_of(access={"type": "TrustedHeader", "trustedHeader": header})
    assert (settings.access, settings.tenant_header) == ("TrustedHeader", "X-Tenant")


@given(st.text("".join(map(chr, range(32, 128))) + "é", max_size=130))
def test_a_tenant_that_a_rate_limit_may_name_is_one_that_the_sidecar_tells(name: str) -> None:
    """In both directions: no limit that can never hold, and no tenant that cannot have one."""
    try:
        RateLimit.parse({"scope": "Tenant", "tenant": name, "requestsPerMinute": 1})
        nameable = True
    except ValidationError:
        nameable = False
    said = TrustedHeader("X", 0).identify(((b"x", name.encode("latin-1")),))
    assert isinstance(said, Caller) == nameable


def test_the_sidecar_accepts_its_environment_and_arguments() -> None:
    made = containers(drain={"timeoutSeconds": 400})[names.SIDECAR]
    settings = from_environment({each["name"]: each["value"] for each in made["env"]})

    assert settings.drain_timeout_seconds == 400
    assert settings.drain_settle_seconds == operator_sidecar.SETTLE_SECONDS
    assert settings.upstream_address == ("127.0.0.1", names.PORT_ENGINE)
    with pytest.raises(SystemExit) as ended:
        main([*made["args"], "--help"])
    assert ended.value.code == 0


def test_the_ports_of_the_pod_are_the_ports_of_the_process() -> None:
    ports = {each["name"]: each["containerPort"] for each in containers()[names.SIDECAR]["ports"]}
    assert ports == {"http": Settings().port, "admin": Settings().admin_port}


def test_every_probe_and_hook_of_the_pod_asks_for_what_the_admin_port_has() -> None:
    asked = {
        found["httpGet"]["path"]
        for container in containers().values()
        for found in [
            *(container[name] for name in container if name.endswith("Probe")),
            *container.get("lifecycle", {}).values(),
        ]
    }
    assert asked == {"/livez", "/readyz", "/engine/livez", "/drain"}
    assert asked <= admin.PATHS.keys()


async def test_the_operator_reads_the_state_of_a_real_sidecar() -> None:
    loop = asyncio.get_running_loop()
    real = sidecar.Sidecar(Settings(), loop)
    server = await loop.create_server(real.admin.client, "127.0.0.1", 0)
    try:
        async with Workers(port=server.sockets[0].getsockname()[1]) as workers:
            states = await workers.states([STARTED_POD], {"1": "0123456789abcdef"})
    finally:
        server.close()
        real.close()
    state = states["uid-1"]
    assert (state.settings_hash, state.settings_error) == (None, None)
    assert (state.draining, state.in_flight) == (False, 0)
    assert state.access_error is None


@pytest.mark.parametrize("probe", ["startupProbe", "livenessProbe"])
def test_a_killed_engine_does_not_wait_for_a_drain(probe: str) -> None:
    engine = containers()[names.ENGINE]
    assert engine[probe]["terminationGracePeriodSeconds"] <= operator_sidecar.SETTLE_SECONDS


STARTED_POD = {
    "metadata": {
        "uid": "uid-1",
        "name": "chat-1-a",
        "namespace": "default",
        "labels": {names.LABEL_REVISION: "1"},
    },
    "status": {
        "podIP": "127.0.0.1",
        "initContainerStatuses": [{"name": names.SIDECAR, "started": True}],
    },
}
