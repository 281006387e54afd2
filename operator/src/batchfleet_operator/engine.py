"""From ``spec.engine`` to the engine's container: command line, environment, GPUs, volumes.

Comes before ``pod``, which puts the container beside the sidecar and adds probes and drain.
"""

from __future__ import annotations

import json
from typing import Any

from batchfleet_operator import names
from batchfleet_operator.api import GPU, Engine
from batchfleet_operator.api.engine import ModelCache, flag_of
from batchfleet_operator.api.flags import VLLMFlags
from batchfleet_operator.config import Config
from batchfleet_operator.decision import Object

VLLM_COMMAND = ["python3", "-m", "vllm.entrypoints.openai.api_server"]
"""Works in every image that has vLLM; the ``vllm`` command does not (its CPU build lacks it)."""

DEFAULT_GPU_RESOURCE = "nvidia.com/gpu"
DEFAULT_CACHE_PATH = "/models"
CACHE_VOLUME = "model-cache"


def image(engine: Engine, config: Config) -> str:
    """The engine's image; a Custom engine always names its own (CEL holds that)."""
    return engine.image or config.images.vllm


def port(engine: Engine) -> int:
    """Where the sidecar finds the engine."""
    return engine.port or names.PORT_ENGINE


def batch_size(engine: Engine) -> int | None:
    """Most sequences that the engine runs at once; ``None``: its own default."""
    return engine.max_num_seqs


def command_line(engine: Engine, *, for_clients: bool = False) -> tuple[list[str], list[str]]:
    """Command and arguments of the container; ``for_clients`` too, not only for its sidecar."""
    if engine.type == "Custom":
        return list(engine.command or ()), list(engine.args or ())
    host = "0.0.0.0" if for_clients else "127.0.0.1"  # noqa: S104 - asked for, and behind a policy
    arguments = [f"--host={host}", f"--port={names.PORT_ENGINE}"]
    for field in VLLMFlags.model_fields:
        arguments += _flag(field, getattr(engine, field))
    return VLLM_COMMAND, arguments + list(engine.extra_args or ())


def _flag(field: str, value: Any) -> list[str]:
    """One flag as vLLM's parser reads it; nothing where the field is unset."""
    flag = flag_of(field)
    match value:
        case None:
            return []
        case bool():
            return [flag if value else "--no-" + flag[2:]]
        case tuple():  # argparse: one flag, then every value
            return [flag, *(str(each) for each in value)]
        case dict():
            return [f"{flag}={json.dumps(value, sort_keys=True, separators=(',', ':'))}"]
        case _:
            return [f"{flag}={value}"]


def container(
    engine: Engine, gpu: GPU | None, config: Config, *, for_clients: bool = False
) -> Object:
    """The engine's container, without what the pod adds: probes, drain, shared memory."""
    command, args = command_line(engine, for_clients=for_clients)
    made: Object = {
        "name": names.ENGINE,
        "image": image(engine, config),
        "command": command,
        "args": args,
        "terminationMessagePolicy": "FallbackToLogsOnError",  # last words for the condition
        "securityContext": {"allowPrivilegeEscalation": False},
    }
    variables = environment(engine, config)
    if variables:
        made["env"] = variables
    if gpu is not None:
        limits = {gpu.resource_name or DEFAULT_GPU_RESOURCE: gpu.count}
        made["resources"] = {"limits": limits, "requests": limits}
    if engine.model_cache is not None:
        made["volumeMounts"] = [
            {"name": CACHE_VOLUME, "mountPath": _cache_path(engine.model_cache)}
        ]
    return made


def volumes(engine: Engine) -> list[Object]:
    """Volumes that the container mounts."""
    if engine.model_cache is None:
        return []
    claim = {"claimName": engine.model_cache.claim_name}
    return [{"name": CACHE_VOLUME, "persistentVolumeClaim": claim}]


def environment(engine: Engine, config: Config) -> list[Object]:
    """Cluster-wide settings, then the cache and the token, then what the user wrote."""
    defaults = config.service_defaults
    values = {
        "HTTP_PROXY": defaults.http_proxy,
        "HTTPS_PROXY": defaults.https_proxy,
        "NO_PROXY": defaults.no_proxy,
        "HF_ENDPOINT": defaults.hf_endpoint,
    }
    if engine.model_cache is not None:
        path = _cache_path(engine.model_cache)
        values["HF_HOME"] = f"{path}/huggingface"
        if engine.type == "vLLM":
            values["VLLM_CACHE_ROOT"] = f"{path}/vllm"
    made: dict[str, Object] = {
        name: {"name": name, "value": value} for name, value in values.items() if value
    }
    if engine.hugging_face_token_secret is not None:
        secret = engine.hugging_face_token_secret.as_json()
        made["HF_TOKEN"] = {"name": "HF_TOKEN", "valueFrom": {"secretKeyRef": secret}}
    made |= {each.name: {"name": each.name, "value": each.value} for each in engine.env or ()}
    return list(made.values())


def _cache_path(cache: ModelCache) -> str:
    return (cache.mount_path or DEFAULT_CACHE_PATH).rstrip("/")
