"""The generated schema keeps the API's rules, and what is checked in is what would be generated."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import ValidationError
from pydantic.alias_generators import to_camel

from batchfleet_operator import crd
from batchfleet_operator.api import BatchInferenceService
from batchfleet_operator.api.flags import VLLMFlags

ROOT = Path(__file__).parents[2]
SCHEMA = crd.definition()["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
STRUCTURAL = {
    "type", "description", "properties", "required", "default", "enum", "items", "pattern",
    "minimum", "maximum", "minLength", "maxLength", "minItems", "maxItems", "maxProperties",
    "additionalProperties", "x-kubernetes-preserve-unknown-fields", "x-kubernetes-validations",
    "x-kubernetes-list-type", "x-kubernetes-list-map-keys",
}  # fmt: skip
UNITS = ("Seconds", "Milliseconds", "Bytes", "Percent", "Tokens", "Gb")


def fields(path: str, schema: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every field below ``schema``, with its path; list entries as ``[]``, map values as ``{}``."""
    for name, field in schema.get("properties", {}).items():
        yield f"{path}.{name}", field
        yield from fields(f"{path}.{name}", field)
    if "items" in schema:
        yield f"{path}[]", schema["items"]
        yield from fields(f"{path}[]", schema["items"])
    if isinstance(schema.get("additionalProperties"), dict):
        yield f"{path}{{}}", schema["additionalProperties"]


ALL = dict(
    [
        *fields("spec", SCHEMA["properties"]["spec"]),
        *fields("status", SCHEMA["properties"]["status"]),
    ]
)


def test_what_is_checked_in_is_current() -> None:
    assert crd.stale_files(ROOT) == []


def test_stale_and_missing_files_are_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert crd.main(["--check", str(tmp_path)]) == 1
    assert "docs/api.md is stale" in capsys.readouterr().err
    assert crd.main(["--write", str(tmp_path)]) == 0
    assert crd.main(["--check", str(tmp_path)]) == 0
    (tmp_path / "docs/api.md").write_text("old")
    assert crd.stale_files(tmp_path) == ["docs/api.md"]


@pytest.mark.parametrize("path", ALL)
def test_every_field_is_structural_bounded_and_described(path: str) -> None:
    field = ALL[path]
    assert set(field) <= STRUCTURAL
    if not path.endswith(("]", "}")):
        assert field.get("description", "").strip(), "a description"
        name = path.rsplit(".", 1)[-1]
        assert name[0].islower(), "camelCase"
        assert name.isalnum(), "camelCase"
    match field["type"]:
        case "string":
            assert "maxLength" in field or "enum" in field
        case "array":
            assert "maxItems" in field
            assert "x-kubernetes-list-type" in field
        case "integer":
            assert "maximum" in field
            assert "minimum" in field
        case "object":
            opaque = field.get("x-kubernetes-preserve-unknown-fields")
            assert "properties" in field or "maxProperties" in field or opaque
        case kind:
            assert kind == "boolean", "no floats, no nulls"
    assert not {"On", "Off", "on", "off", "yes", "no"} & set(field.get("enum", []))


def test_no_defaults_where_a_new_crd_would_cut_revisions() -> None:
    for path, field in ALL.items():
        if path.startswith(
            ("spec.engine", "spec.gpu", "spec.podTemplate", "spec.worker", "spec.drain")
        ):
            assert "default" not in field, path


def test_durations_and_sizes_name_their_unit() -> None:
    for path in ALL:
        name = path.rsplit(".", 1)[-1]
        if any(word in name.lower() for word in ("timeout", "wait", "deadline")):
            assert name.endswith(UNITS), path


def test_every_flag_has_a_rule_against_repeating_it() -> None:
    engine = SCHEMA["properties"]["spec"]["properties"]["engine"]
    said = {rule["message"] for rule in engine["x-kubernetes-validations"]}
    for name in VLLMFlags.model_fields:
        flag = "--" + name.replace("_", "-")
        assert f"engine.extraArgs: in place of {flag} use engine.{to_camel(name)}" in said


def test_autoscalers_can_scale_it() -> None:
    (version,) = crd.definition()["spec"]["versions"]
    scale = version["subresources"]["scale"]
    for path in scale.values():
        assert path[1:] in ALL


def test_columns_show_fields_that_exist() -> None:
    for _, _, path in crd.COLUMNS:
        plain = path[1:].split("[")[0]
        assert plain in ALL or plain.startswith("metadata.")


def services() -> Iterator[Any]:
    for path in sorted((ROOT / "examples").glob("*.yaml")):
        for each in yaml.safe_load_all(path.read_text()):
            if each["kind"] == "BatchInferenceService":
                yield pytest.param(each, id=f"{path.name}-{each['metadata']['name']}")


@pytest.mark.parametrize("service", list(services()))
def test_examples_are_read(service: dict[str, Any]) -> None:
    assert BatchInferenceService.of(service).spec.engine.type


@pytest.mark.parametrize(
    ("spec", "where"),
    [
        ({"engine": {"type": "vLLM", "maxNumSeq": 1}}, "maxNumSeq"),
        ({"engine": {"type": "vLLM", "maxNumSeqs": "1"}}, "maxNumSeqs"),
        ({"engine": {"type": "SGLang"}}, "type"),
        ({}, "engine"),
    ],
)
def test_a_spec_that_is_not_ours_is_not_guessed_at(spec: dict[str, Any], where: str) -> None:
    with pytest.raises(ValidationError, match=where):
        BatchInferenceService.of({"metadata": {"name": "chat"}, "spec": spec})
