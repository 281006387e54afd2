"""The CRD's schema as a page for people: every field, its type, default, limits and meaning."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from batchfleet_operator.profiles import NONE, PROFILES
from batchfleet_operator.remediation.presets import PRESETS

Schema = dict[str, Any]

INTRODUCTION = """\
# API reference: BatchInferenceService

`batchfleet.io/v1alpha1`, short name `bis`. Generated from the operator's models by
`make generate`; the API server refuses what breaks a limit or a rule here, with the rule's own
sentence.

Under `engine`, *unset* means that the flag is not passed and vLLM's own default holds. Which
changes restart pods: `engine`, `gpu`, `worker`, `access` (but for `trustedHeader.from`),
`podTemplate`, `drain` and `restart` make a new revision, which replaces the pods as `rollout` says;
everything else is applied to running pods.
"""

PROFILES_AT = "spec.batching"
PRESETS_AT = "spec.alertActions[]"


def reference(crd: Schema) -> str:
    """Markdown for the first version of ``crd``."""
    schema = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    parts = [INTRODUCTION]
    parts += [f"- {each['message']}\n" for each in schema["x-kubernetes-validations"]]
    for name in ("spec", "status"):
        parts += _sections(name, schema["properties"][name])
    return "\n".join(parts)


def _sections(path: str, schema: Schema) -> Iterator[str]:
    """A section for an object with fields, then one for each object among its fields."""
    yield f"## {path}\n\n{schema.get('description', '')}\n"
    rows = ["| field | type | default | limits | meaning |", "|---|---|---|---|---|"]
    required = schema.get("required", [])
    for name, field in sorted(
        schema["properties"].items(), key=lambda each: each[0] not in required
    ):
        default = "*required*" if name in required else _default(field)
        cells = [f"`{name}`", _type(field), default, _limits(field), field.get("description", "")]
        rows.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    yield "\n".join(rows) + "\n"
    for rule in schema.get("x-kubernetes-validations", []):
        if "extraArgs: in place of" not in rule["message"]:  # its field's description says it once
            yield f"- {rule['message']}"
    yield ""
    if path == PROFILES_AT:
        yield _profiles()
    if path == PRESETS_AT:
        yield _presets()
    for name, field in schema["properties"].items():
        inner = field.get("items", field)
        if "properties" in inner:
            yield from _sections(f"{path}.{name}{'[]' if 'items' in field else ''}", inner)


def _profiles() -> str:
    """What fills in for what is unset, by profile."""
    rows = [
        "What holds where a field is unset:\n",
        "| profile | mode | targetInterTokenMilliseconds | maxQueueLength | "
        "requests.queueTimeoutSeconds |",
        "|---|---|---|---|---|",
    ]
    for name, each in (("*none*", NONE), *((f"`{n}`", p) for n, p in PROFILES.items())):
        target = each.target_inter_token_milliseconds if each.mode == "Adaptive" else "–"
        patience = each.queue_timeout_seconds or "timeoutSeconds"
        rows.append(f"| {name} | `{each.mode}` | {target} | {each.max_queue_length} | {patience} |")
    return "\n".join(rows) + "\n"


def _presets() -> str:
    """The ready-made rules, and what they do where the spec names no action."""
    rows = [
        "The presets:\n",
        "| preset | the number | broken | minSamples | action |",
        "|---|---|---|---|---|",
    ]
    for name, each in PRESETS.items():
        bound = f"{'below' if each.below else 'above'} {each.bound:g}"
        action = f"`{each.action}`"
        if each.action == "ScaleBatchSize":
            action += f", {each.percent} %"
        if each.latency:
            action += "; more pods, or `Shed`, where more than half of it is waiting"
        if each.sheds:
            action += "; `Shed` where the fleet cannot grow"
        rows.append(
            f"| `{name}` | {each.number} | {bound} | {each.min_samples or '–'} | {action} |"
        )
    return "\n".join(rows) + "\n"


def _type(field: Schema) -> str:
    if "enum" in field:
        return " \\| ".join(f"`{each}`" for each in field["enum"]).replace("\\|", "or")
    if field["type"] == "array":
        return f"list of {_type(field['items'])}"
    if isinstance(field.get("additionalProperties"), dict):
        return f"map to {_type(field['additionalProperties'])}"
    return str(field["type"])


def _default(field: Schema) -> str:
    default = field.get("default")
    if default is None or isinstance(default, dict):  # the fields' own defaults say it
        return ""
    return f"`{str(default).lower() if isinstance(default, bool) else default}`"


def _limits(field: Schema) -> str:
    said = []
    low, high = field.get("minimum"), field.get("maximum")
    if low is not None or high is not None:
        said.append(f"{'' if low is None else low} … {'' if high is None else high}".strip())
    for key, unit in (
        ("maxLength", "characters"),
        ("maxItems", "entries"),
        ("maxProperties", "entries"),
    ):
        if key in field:
            said.append(f"at most {field[key]} {unit}")
    if "pattern" in field:
        said.append(f"`{field['pattern']}`")
    return ", ".join(said)
