"""What the engine's container is made of."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from batchfleet_operator import engine
from batchfleet_operator.api import GPU, Engine
from batchfleet_operator.api.engine import OWNED_FLAGS, SHORT_FLAGS, flag_of, is_switch
from batchfleet_operator.api.flags import VLLMFlags
from batchfleet_operator.config import Config, ServiceDefaults

CONFIG = Config()


def vllm(**fields: Any) -> Engine:
    return Engine.parse({"type": "vLLM", "model": "m", **fields})


def arguments(**fields: Any) -> list[str]:
    return engine.command_line(vllm(**fields))[1]


def test_an_unset_flag_is_not_passed() -> None:
    assert arguments() == ["--host=127.0.0.1", "--port=8000", "--model=m"]


@pytest.mark.parametrize(
    ("field", "value", "expected"),
    [
        ("maxNumSeqs", 64, ["--max-num-seqs=64"]),
        ("gpuMemoryUtilization", "0.90", ["--gpu-memory-utilization=0.90"]),
        ("enablePrefixCaching", True, ["--enable-prefix-caching"]),
        ("enablePrefixCaching", False, ["--no-enable-prefix-caching"]),
        ("servedModelName", ["a", "b"], ["--served-model-name", "a", "b"]),
        ("cudagraphCaptureSizes", [1, 2], ["--cudagraph-capture-sizes", "1", "2"]),
        ("hfOverrides", {"b": 1, "a": {"c": 0.5}}, ['--hf-overrides={"a":{"c":0.5},"b":1}']),
        ("extraArgs", ["--enable-mfu-metrics"], ["--enable-mfu-metrics"]),
    ],
)
def test_each_kind_of_flag(field: str, value: Any, expected: list[str]) -> None:
    assert arguments(**{field: value})[3:] == expected


def test_every_flag_of_the_api_reaches_the_command_line() -> None:
    samples: dict[str, Any] = {}
    for name, field in VLLMFlags.model_fields.items():
        schema = VLLMFlags.model_json_schema(by_alias=False)["properties"][name]["anyOf"][0]
        samples[field.alias or name] = _sample(schema)
    passed = arguments(**samples)
    for name in VLLMFlags.model_fields:
        flag = "--" + name.replace("_", "-")
        assert any(argument.split("=")[0] == flag for argument in passed), flag


def test_every_flag_of_the_api_is_one_of_vllms() -> None:
    known = set(Path(__file__).with_name("vllm-0.32-flags.txt").read_text().split())
    for name, field in VLLMFlags.model_fields.items():
        assert flag_of(name) in known
        assert not is_switch(field) or "--no-" + flag_of(name)[2:] in known
    assert known.issuperset(SHORT_FLAGS)
    assert known.issuperset(OWNED_FLAGS)


def _sample(schema: dict[str, Any]) -> Any:
    if "enum" in schema:
        return schema["enum"][0]
    match schema["type"]:
        case "array":
            return [_sample(schema["items"])]
        case "object":
            return {"a": 1}
        case "boolean":
            return True
        case "integer":
            return schema["minimum"]
        case _:
            return "/a" if schema.get("pattern") == "^/" else "1" if "pattern" in schema else "a"


def test_a_custom_engine_is_run_as_written() -> None:
    custom = Engine.parse(
        {"type": "Custom", "image": "img", "command": ["serve"], "args": ["-p", "9"], "port": 9}
        | {"port": 9000}
    )
    assert engine.command_line(custom) == (["serve"], ["-p", "9"])
    assert engine.port(custom) == 9000
    assert engine.container(custom, None, CONFIG)["image"] == "img"


def test_gpus_are_asked_for_by_their_resource() -> None:
    made = engine.container(vllm(), GPU(count=2, resource_name="amd.com/gpu"), CONFIG)
    assert made["resources"]["limits"] == {"amd.com/gpu": 2}
    made = engine.container(vllm(), GPU(count=1), CONFIG)
    assert made["resources"]["limits"] == {"nvidia.com/gpu": 1}
    assert "resources" not in engine.container(vllm(), None, CONFIG)


def environment(made: Engine, config: Config = CONFIG) -> dict[str, Any]:
    return {each["name"]: each.get("value", each) for each in engine.environment(made, config)}


def test_the_cache_holds_models_and_compiled_kernels() -> None:
    cached = vllm(modelCache={"claimName": "models", "mountPath": "/cache/"})
    assert environment(cached) == {
        "HF_HOME": "/cache/huggingface",
        "VLLM_CACHE_ROOT": "/cache/vllm",
    }
    mounts = engine.container(cached, None, CONFIG)["volumeMounts"]
    (volume,) = engine.volumes(cached)
    assert mounts == [{"name": volume["name"], "mountPath": "/cache"}]
    assert volume["persistentVolumeClaim"] == {"claimName": "models"}


def test_the_users_variables_win_over_the_clusters() -> None:
    config = Config(service_defaults=ServiceDefaults(hf_endpoint="hub", no_proxy="local"))
    made = vllm(
        env=[{"name": "HF_ENDPOINT", "value": "mine"}],
        huggingFaceTokenSecret={"name": "hf", "key": "token"},
    )
    found = environment(made, config)
    assert found["HF_ENDPOINT"] == "mine"
    assert found["NO_PROXY"] == "local"
    assert found["HF_TOKEN"]["valueFrom"] == {"secretKeyRef": {"name": "hf", "key": "token"}}
