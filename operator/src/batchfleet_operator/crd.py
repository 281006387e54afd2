"""``api`` → ``crds/``, the chart's copy of it, and ``docs/api.md``; ``make generate`` runs this.

Kubernetes wants *structural* schemas: no references, no ``anyOf`` with null, no ``const``, no
titles.  pydantic emits all of these, so its schema is walked once and rewritten.

    python -m batchfleet_operator.crd --write ROOT    # make them
    python -m batchfleet_operator.crd --check ROOT    # exit 1 and name those that are stale
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from batchfleet_operator import generated, names
from batchfleet_operator.api.schema import Model
from batchfleet_operator.api.service import BatchInferenceService, Spec
from batchfleet_operator.api.status import Status
from batchfleet_operator.reference import reference

Schema = dict[str, Any]

DROPPED = frozenset({"title", "additionalProperties", "propertyNames", "const", "$ref", "anyOf"})
"""What pydantic writes and a structural schema has in another form, or not at all."""

COLUMNS = (
    ("Ready", "string", '.status.conditions[?(@.type=="Ready")].status'),
    ("Replicas", "string", ".status.readyReplicas"),
    ("Model", "string", ".spec.engine.model"),
    ("Batch", "integer", ".status.effective.maxBatchSize"),
    ("Reason", "string", '.status.conditions[?(@.type=="Ready")].reason'),
    ("Age", "date", ".metadata.creationTimestamp"),
)
"""Nothing that changes with every request."""

HEADER = "# Generated from operator/src/batchfleet_operator/api by `make generate`. Do not edit.\n"


def structural(model: type[Model]) -> Schema:
    """The structural schema of ``model``."""
    schema = model.model_json_schema(by_alias=True)
    return _walk(schema, schema.get("$defs", {}))


def _walk(node: Schema, definitions: Mapping[str, Schema]) -> Schema:
    """One schema without references and unions; what stands beside a reference wins."""
    if "$ref" in node:
        named = definitions[node["$ref"].rsplit("/", 1)[-1]]
        beside = {key: value for key, value in node.items() if key != "$ref"}
        return _walk({**named, **beside}, definitions)
    if "anyOf" in node:
        (only,) = [each for each in node["anyOf"] if each != {"type": "null"}]
        beside = {key: value for key, value in node.items() if key != "anyOf"}
        return _walk({**only, **beside}, definitions)

    made = {key: value for key, value in node.items() if key not in DROPPED and key != "$defs"}
    if "const" in node:
        made["enum"] = [node["const"]]
    if made.get("default", ...) is None:
        del made["default"]
    if isinstance(made.get("default"), dict):
        made["default"] = {k: v for k, v in made["default"].items() if v is not None}
    if "properties" in node:
        made["properties"] = {
            name: _walk(each, definitions) for name, each in node["properties"].items()
        }
    if isinstance(node.get("additionalProperties"), dict):
        made["additionalProperties"] = _walk(node["additionalProperties"], definitions)
    if "items" in node:
        made["items"] = _walk(node["items"], definitions)
        made.setdefault("x-kubernetes-list-type", "atomic")
    return made


def definition() -> Schema:
    """The CustomResourceDefinition."""
    extra = BatchInferenceService.model_config["json_schema_extra"]
    assert isinstance(extra, dict)  # noqa: S101  # what rules() makes
    schema: Schema = {
        "type": "object",
        "description": BatchInferenceService.__doc__,
        "required": ["spec"],
        "properties": {
            "apiVersion": {"type": "string"},
            "kind": {"type": "string"},
            "metadata": {"type": "object"},
            "spec": structural(Spec),
            "status": structural(Status),
        },
        **extra,
    }
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{names.PLURAL}.{names.GROUP}"},
        "spec": {
            "group": names.GROUP,
            "scope": "Namespaced",
            "names": {
                "kind": names.KIND,
                "listKind": f"{names.KIND}List",
                "plural": names.PLURAL,
                "singular": names.SINGULAR,
                "shortNames": [names.SHORT_NAME],
                "categories": [names.CATEGORY],
            },
            "versions": [
                {
                    "name": names.VERSION,
                    "served": True,
                    "storage": True,
                    "additionalPrinterColumns": [
                        {"name": name, "type": type_, "jsonPath": path}
                        for name, type_, path in COLUMNS
                    ],
                    "subresources": {
                        "status": {},
                        "scale": {
                            "specReplicasPath": ".spec.replicas",
                            "statusReplicasPath": ".status.replicas",
                            "labelSelectorPath": ".status.selector",
                        },
                    },
                    "schema": {"openAPIV3Schema": schema},
                }
            ],
        },
    }


def files() -> dict[str, str]:
    """Path below the root of the tree → what is to be in it."""
    crd = definition()
    text = HEADER + yaml.safe_dump(crd, sort_keys=False, width=100, allow_unicode=True)
    return {
        f"crds/{names.PLURAL}.yaml": text,
        f"helm/batchfleet/files/crds/{names.PLURAL}.yaml": text,
        "docs/api.md": reference(crd),
    }


def main(arguments: list[str] | None = None) -> int:
    """Writes the files, or tells which of them are stale."""
    return generated.main(files(), "python -m batchfleet_operator.crd", arguments)


def stale_files(root: Path) -> list[str]:
    """Generated files below ``root`` that differ from what would be written now, or are missing."""
    return generated.stale(files(), root)


if __name__ == "__main__":
    sys.exit(main())
