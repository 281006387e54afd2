"""``spec.engine`` and ``spec.gpu``: what serves the model, and on what.

Nothing here has a default in the schema: a default that changed with a CRD would cut a revision
of every service and restart it.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field
from pydantic.alias_generators import to_camel
from pydantic.fields import FieldInfo

from batchfleet_operator import names
from batchfleet_operator.api.flags import VLLMFlags
from batchfleet_operator.api.schema import Image, Model, Name, Path, Rule, Text, Word, rules

OWNED_FLAGS = {
    "--host": "the engine listens on 127.0.0.1, behind the sidecar",
    "--port": f"the engine listens on port {names.PORT_ENGINE}, behind the sidecar",
    "--uds": "the sidecar reaches the engine over TCP",
    "--root-path": "the sidecar expects the engine's paths as they are",
    "--api-key": "it locks the sidecar's own warm-up and metrics out",
    "--ssl-keyfile": "the engine is reached from inside its pod only; end TLS in front of it",
    "--ssl-certfile": "the engine is reached from inside its pod only; end TLS in front of it",
    "--ssl-ca-certs": "the engine is reached from inside its pod only; end TLS in front of it",
    "--config": "write its settings as fields of engine and in extraArgs",
    "--headless": "the sidecar needs the engine's HTTP server",
    "--grpc": "the sidecar speaks HTTP",
    "--nnodes": "one pod is one engine; engines over several nodes are not supported",
    "--node-rank": "one pod is one engine; engines over several nodes are not supported",
    "--disable-log-stats": "liveness is read from the engine's statistics",
}
"""Flags that extraArgs must not hold, with the reason."""

SHORT_FLAGS = {
    "-tp": "tensor_parallel_size",
    "-pp": "pipeline_parallel_size",
    "-dp": "data_parallel_size",
    "-dcp": "decode_context_parallel_size",
    "-ep": "enable_expert_parallel",
    "-q": "quantization",
}
"""vLLM's short spellings of flags that have a field."""


def flag_of(field: str) -> str:
    """``max_num_seqs`` → ``--max-num-seqs``."""
    return "--" + field.replace("_", "-")


def is_switch(info: FieldInfo) -> bool:
    """Whether a flag's field is true or false: its flag then also exists as ``--no-…``."""
    return bool in getattr(info.annotation, "__args__", ())


def _not_in_extra_args(pattern: str, says: str) -> Rule:
    """One rule per flag, each with its own sentence: CEL's budget has no room for composing one."""
    return Rule(
        f"!has(self.extraArgs) || !self.extraArgs.exists(a, a.matches('^{pattern}([=.].*)?$'))",
        f"engine.extraArgs: {says}",
    )


def _extra_args_rules() -> list[Rule]:
    """vLLM reads ``_`` as ``-``, ``--no-`` before switches, and ``.`` before a JSON flag's keys."""
    short = {field: flag for flag, field in SHORT_FLAGS.items()}
    made = []
    for field, info in VLLMFlags.model_fields.items():
        pattern = "--" + ("(no[-_])?" if is_switch(info) else "") + field.replace("_", "[-_]")
        if field in short:
            pattern = f"({pattern}|{short[field]})"
        instead = f"in place of {flag_of(field)} use engine.{to_camel(field)}"
        made.append(_not_in_extra_args(pattern, instead))
    for flag, why in OWNED_FLAGS.items():
        pattern = "--" + flag[2:].replace("-", "[-_]")
        made.append(_not_in_extra_args(pattern, f"leave {flag} out: {why}"))
    return made


class EnvVar(Model):
    """One environment variable of the engine."""

    name: Word = Field(description="Name of the variable.")
    value: Annotated[str, Field(max_length=4096)] = Field(
        description="Its value. For values from Secrets use podTemplate."
    )


class SecretKey(Model):
    """A key of a Secret in the service's namespace."""

    name: Name = Field(description="Name of the Secret.")
    key: Word = Field(description="Key in the Secret.")


class ModelCache(Model):
    """A volume that models and compiled kernels are kept on."""

    claim_name: Name = Field(
        description="PersistentVolumeClaim in the service's namespace; with more than one replica "
        "it must be one that several nodes can mount."
    )
    mount_path: Path | None = Field(
        default=None, description="Where it is mounted; unset: /models."
    )


_FOR_VLLM = [*map(to_camel, VLLMFlags.model_fields), "extraArgs"]
_FOR_CUSTOM = ["command", "args", "port"]


def _only_for(type_: str, fields: list[str], instead: str) -> Rule:
    """Fields of one type of engine; the sentence names the first that is out of place."""
    naming = "''"
    for field in reversed(fields):
        naming = (
            f"has(self.{field}) ? 'engine.{field} is for engine.type {type_}: {instead}' : {naming}"
        )
    out_of_place = " || ".join(f"has(self.{field})" for field in fields)
    return Rule(
        f"self.type == '{type_}' || !({out_of_place})",
        f"a field of engine is for engine.type {type_} only: {instead}",
        naming,
    )


class Engine(VLLMFlags):
    """The OpenAI-compatible server behind the sidecar."""

    model_config = rules(
        Rule(
            "self.type != 'vLLM' || has(self.model)",
            "engine.type vLLM needs engine.model: a name on the Hugging Face hub, or a path.",
        ),
        _only_for("vLLM", _FOR_VLLM, "write it as engine.args of your server"),
        _only_for("Custom", _FOR_CUSTOM, "use the fields of engine and engine.extraArgs"),
        Rule(
            "self.type != 'Custom' || (has(self.image) && has(self.command))",
            "engine.type Custom needs engine.image and engine.command (and usually engine.port).",
        ),
        *_extra_args_rules(),
        Rule(
            f"!has(self.port) || !(self.port in [{names.PORT_HTTP}, {names.PORT_ADMIN}])",
            f"engine.port: {names.PORT_HTTP} and {names.PORT_ADMIN} are the sidecar's; "
            "let your server listen on another port.",
        ),
        Rule(
            "!has(self.maxNumBatchedTokens) || !has(self.maxNumSeqs) || "
            "self.maxNumBatchedTokens >= self.maxNumSeqs",
            "engine.maxNumBatchedTokens must be at least engine.maxNumSeqs: every running "
            "sequence takes a token of each step.",
        ),
        Rule(
            "!has(self.enableChunkedPrefill) || self.enableChunkedPrefill || "
            "!has(self.maxNumBatchedTokens) || !has(self.maxModelLen) || "
            "self.maxNumBatchedTokens >= self.maxModelLen",
            "without chunked prefill, engine.maxNumBatchedTokens must be at least "
            "engine.maxModelLen; raise it, or set engine.enableChunkedPrefill.",
        ),
        Rule(
            "!has(self.enableAutoToolChoice) || !self.enableAutoToolChoice || "
            "has(self.toolCallParser)",
            "engine.enableAutoToolChoice needs engine.toolCallParser.",
        ),
        Rule(
            "!has(self.loraModules) || (has(self.enableLora) && self.enableLora)",
            "engine.loraModules needs engine.enableLora: true.",
        ),
        Rule(
            "!has(self.maxCpuLoras) || !has(self.maxLoras) || self.maxCpuLoras >= self.maxLoras",
            "engine.maxCpuLoras must be at least engine.maxLoras.",
        ),
    )

    type: Literal["vLLM", "Custom"] = Field(
        description="vLLM, or any other OpenAI-compatible server."
    )
    image: Image | None = Field(
        default=None,
        description="Image of the engine; unset: the chart's when the revision is cut.",
    )
    command: Annotated[tuple[Text, ...], Field(min_length=1, max_length=16)] | None = Field(
        default=None, description="Custom: the command that starts the server."
    )
    args: Annotated[tuple[Text, ...], Field(max_length=128)] | None = Field(
        default=None, description="Custom: arguments of the command."
    )
    port: Annotated[int, Field(ge=1024, le=65535)] | None = Field(
        default=None,
        description=f"Custom: where the server listens, best on 127.0.0.1 only; "
        f"unset: {names.PORT_ENGINE}.",
    )
    extra_args: Annotated[tuple[Text, ...], Field(max_length=64)] | None = Field(
        default=None,
        description="vLLM: flags as --flag=value. One that has a field here is refused: use that.",
    )
    env: Annotated[tuple[EnvVar, ...], Field(max_length=64)] | None = Field(
        default=None,
        description="Environment variables of the engine.",
        json_schema_extra={
            "x-kubernetes-list-type": "map",
            "x-kubernetes-list-map-keys": ["name"],
        },
    )
    hugging_face_token_secret: SecretKey | None = Field(
        default=None, description="Token for models that need one; becomes HF_TOKEN."
    )
    model_cache: ModelCache | None = Field(
        default=None, description="Volume for models (HF_HOME) and vLLM's compile cache."
    )


class GPU(Model):
    """Accelerators of each pod."""

    count: Annotated[int, Field(ge=1, le=64)] = Field(description="GPUs per pod.")
    resource_name: (
        Annotated[str, Field(max_length=128, pattern=r"^[a-z0-9.-]+/[A-Za-z0-9_.-]+$")] | None
    ) = Field(default=None, description="Extended resource of the nodes; unset: nvidia.com/gpu.")
