"""Files that people give us on the command line, read into values, or refused in one sentence."""

from __future__ import annotations

import sys
from dataclasses import fields
from datetime import UTC, datetime
from pathlib import Path

import yaml
from pydantic import TypeAdapter, ValidationError

from batchfleet_operator import names
from batchfleet_operator.api import BatchInferenceService
from batchfleet_operator.complaint import complaints, meant
from batchfleet_operator.config import Config
from batchfleet_operator.decision import Object, Observed

STANDARD_INPUT = Path("-")


class DocumentError(Exception):
    """A file cannot be used; the text names it and says why."""


class _Loader(yaml.SafeLoader):
    """YAML as Kubernetes reads it: a time is a string."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def config(path: Path | None) -> Config:
    """The operator's configuration; without a file, the defaults."""
    if path is None:
        return Config()
    try:
        return Config.parse(_mapping(path))
    except ValidationError as error:
        raise DocumentError(f"{path}: {complaints(error, Config)[0]}") from error


def services(path: Path) -> list[Object]:
    """The BatchInferenceServices of a file (``-``: of standard input), as of a fresh cluster.

    Other objects may stand beside them, as ``kubectl apply -f`` lets them.
    """
    found = _documents(path)
    ours = [each for each in found if each.get("kind") == names.KIND]
    if not ours:
        kinds = ", ".join(str(each.get("kind", "no kind")) for each in found)
        raise DocumentError(f"{path}: holds {kinds}, and no {names.KIND}")
    return [_as_of_a_cluster(each, path) for each in ours]


def faults(service: Object) -> list[str]:
    """What of ``service`` the operator could not read, one line each."""
    found = []
    if service.get("apiVersion") != names.API_VERSION:
        found.append(f"apiVersion: is {service.get('apiVersion')}, not {names.API_VERSION}")
    try:
        BatchInferenceService.of(service)
    except ValidationError as error:
        found += complaints(error, BatchInferenceService)
    return found


def _as_of_a_cluster(found: Object, path: Path) -> Object:
    """With what only a cluster would fill in."""
    metadata = found.get("metadata")
    if not isinstance(metadata, dict) or "name" not in metadata:
        raise DocumentError(f"{path}: metadata.name is missing")
    if not isinstance(found.get("spec"), dict):
        raise DocumentError(f"{path}: {metadata['name']} has no spec")
    of_cluster = {"namespace": "default", "uid": "not-in-a-cluster", "generation": 1}
    return found | {"metadata": of_cluster | metadata}


def observed(path: Path | None) -> tuple[Observed, datetime]:
    """What a cluster has, and when; without a file: nothing, now."""
    raw = _mapping(path) if path else {}
    known = {field.name for field in fields(Observed)}
    for name in raw:
        if name not in known | {"now"}:
            said = f"{name!r} is not one of now, {', '.join(sorted(known))}"
            raise DocumentError(f"{path}: {said}{meant(str(name), sorted(known))}")
    try:
        at = TypeAdapter(datetime).validate_python(raw.pop("now", datetime.now(UTC)))
        return TypeAdapter(Observed).validate_python(raw), at
    except ValidationError as error:
        raise DocumentError(f"{path}: {complaints(error)[0]}") from error


def _mapping(path: Path) -> Object:
    found = _documents(path)
    if len(found) != 1:
        raise DocumentError(f"{path}: holds {len(found)} YAML documents, not one")
    return found[0]


def _documents(path: Path) -> list[Object]:
    """The YAML mappings of a file, at least one; empty documents are left out."""
    try:
        text = sys.stdin.read() if path == STANDARD_INPUT else path.read_text()
        found = [each for each in yaml.load_all(text, _Loader) if each is not None]
    except OSError as error:
        raise DocumentError(f"{path}: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise DocumentError(f"{path}: not YAML: {error}") from error
    if not found:
        raise DocumentError(f"{path}: is empty")
    for each in found:
        if not isinstance(each, dict):
            raise DocumentError(f"{path}: holds {type(each).__name__}, not one YAML mapping")
    return found
