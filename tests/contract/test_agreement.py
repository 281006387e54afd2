"""What operator and worker must agree on, though neither imports the other.

The operator renders a pod and a file of settings; the worker must read both.  The worker answers on
its admin port; the operator, the kubelet's probes and the hooks must find what they ask for.
"""

from __future__ import annotations

import asyncio
import json
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from batchfleet_operator import live as operator_live
from batchfleet_operator import names, pod
from batchfleet_operator.api import Engine, Spec
from batchfleet_operator.config import Config
from batchfleet_operator.workers import Workers
from batchfleet_worker import admin, sidecar
from batchfleet_worker import live as worker_live
from batchfleet_worker.cli import main
from batchfleet_worker.settings import Settings, from_environment

CONFIG = Config.parse({"images": {"vllm": "vllm:1", "worker": "worker:1"}})
ENGINE: dict[str, Any] = {"type": "vLLM", "model": "m"}


def spec(**fields: Any) -> Spec:
    return Spec.parse({"engine": ENGINE, **fields})


def containers(**fields: Any) -> dict[str, Any]:
    made = pod.template("chat", 1, spec(**fields), CONFIG)["spec"]
    return {each["name"]: each for each in made["initContainers"] + made["containers"]}


@given(
    batch=st.none() | st.integers(1, 65_540),
    max_num_seqs=st.none() | st.integers(1, 65_536),
    wait=st.integers(0, 60_000),
    queue=st.integers(0, 100_000),
    mode=st.sampled_from(["Disabled", "Observe", "Enforce"]),
    timeout=st.integers(1, 86_400),
)
def test_the_sidecar_reads_every_settings_file_that_the_schema_allows(
    batch: int | None, max_num_seqs: int | None, wait: int, queue: int, mode: str, timeout: int
) -> None:
    # What CEL refuses before the operator sees it.
    wait = min(wait, timeout * 1000 - 1) if queue else 0
    asked = spec(
        batching={
            **({} if batch is None else {"maxBatchSize": batch}),
            "maxWaitMilliseconds": wait,
            "maxQueueLength": queue,
        },
        merging={"mode": mode},
        requests={"timeoutSeconds": timeout},
    )
    engine = {} if max_num_seqs is None else {"maxNumSeqs": max_num_seqs}
    written = operator_live.settings(asked, Engine.parse(ENGINE | engine))

    read = worker_live.parse(written.text.encode())

    assert isinstance(read, worker_live.LiveSettings), read
    assert read.batching.max_batch_size == written.max_batch_size
    assert read.batching.max_wait_milliseconds == wait
    assert read.batching.max_queue_length == queue
    assert read.merging.mode == mode
    assert read.requests.timeout_seconds == timeout
    assert worker_live.hash_of(written.text.encode()) == written.hash


def test_the_sidecar_accepts_its_environment_and_arguments() -> None:
    made = containers(drain={"timeoutSeconds": 400})[names.SIDECAR]
    settings = from_environment({each["name"]: each["value"] for each in made["env"]})

    assert settings.drain_timeout_seconds == 400
    assert settings.drain_settle_seconds == pod.SETTLE_SECONDS
    assert settings.upstream_address == ("127.0.0.1", names.PORT_ENGINE)
    with pytest.raises(SystemExit) as ended:
        main([*made["args"], "--help"])
    assert ended.value.code == 0


def test_the_ports_of_the_pod_are_the_ports_of_the_process() -> None:
    ports = {each["name"]: each["containerPort"] for each in containers()[names.SIDECAR]["ports"]}
    assert ports == {"http": Settings().port, "admin": Settings().admin_port}


def test_every_probe_and_hook_of_the_pod_asks_for_what_the_admin_port_has() -> None:
    app = admin.application(Shown())
    offered = {route.resource.canonical for route in app.router.routes() if route.resource}
    asked = {
        found["httpGet"]["path"]
        for container in containers().values()
        for found in [
            *(container[name] for name in container if name.endswith("Probe")),
            *container.get("lifecycle", {}).values(),
        ]
    }
    assert asked == {"/livez", "/readyz", "/engine/livez", "/drain"}
    assert asked <= offered


async def test_the_operator_reads_the_state_of_a_real_sidecar() -> None:
    async with aiohttp.ClientSession() as session:
        real = sidecar.Sidecar(Settings(), asyncio.get_running_loop(), session)
        runner = web.AppRunner(admin.application(real))
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        try:
            async with Workers(port=runner.addresses[0][1]) as workers:
                states = await workers.states([STARTED_POD], {"1": "0123456789abcdef"})
        finally:
            await runner.cleanup()
            real.pool.close()
    state = states["uid-1"]
    assert (state.settings_hash, state.settings_error) == (None, None)
    assert (state.draining, state.in_flight) == (False, 0)


@pytest.mark.parametrize("probe", ["startupProbe", "livenessProbe"])
def test_a_killed_engine_does_not_wait_for_a_drain(probe: str) -> None:
    engine = containers()[names.ENGINE]
    assert engine[probe]["terminationGracePeriodSeconds"] <= pod.SETTLE_SECONDS


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


class Shown:
    """The least that an admin port can show."""

    def unready(self) -> str:
        return ""

    def engine_ill(self) -> str:
        return ""

    def metrics_text(self) -> str:
        return ""

    def state(self) -> dict[str, Any]:
        return json.loads("{}")  # type: ignore[no-any-return]

    async def drained(self) -> None:
        return None
