"""Files that people give us on the command line, read into values, or refused in one sentence."""

from __future__ import annotations

from dataclasses import fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml
from pydantic import TypeAdapter, ValidationError

from batchfleet_operator import names
from batchfleet_operator.config import Config
from batchfleet_operator.decision import Object, Observed


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
        raise DocumentError(f"{path}: {_first(error)}") from error


def service(path: Path) -> Object:
    """One BatchInferenceService.  What only a cluster would fill in is filled in."""
    found = _mapping(path)
    if found.get("kind") != names.KIND:
        raise DocumentError(f"{path}: kind is {found.get('kind')!r}, not {names.KIND}")
    if "name" not in (found.get("metadata") or {}):
        raise DocumentError(f"{path}: metadata.name is missing")
    of_cluster = {"namespace": "default", "uid": "not-in-a-cluster", "generation": 1}
    return found | {"metadata": of_cluster | found["metadata"]}


def observed(path: Path | None) -> tuple[Observed, datetime]:
    """What a cluster has, and when; without a file: nothing, now."""
    raw = _mapping(path) if path else {}
    known = {field.name for field in fields(Observed)}
    for name in raw:
        if name not in known | {"now"}:
            raise DocumentError(f"{path}: {name!r} is not one of now, {', '.join(sorted(known))}")
    try:
        at = TypeAdapter(datetime).validate_python(raw.pop("now", datetime.now(UTC)))
        return TypeAdapter(Observed).validate_python(raw), at
    except ValidationError as error:
        raise DocumentError(f"{path}: {_first(error)}") from error


def _mapping(path: Path) -> dict[str, Any]:
    try:
        found = yaml.load(path.read_text(), _Loader)  # noqa: S506 - a SafeLoader
    except OSError as error:
        raise DocumentError(f"{path}: {error.strerror}") from error
    except yaml.YAMLError as error:
        raise DocumentError(f"{path}: not YAML: {error}") from error
    if not isinstance(found, dict):
        raise DocumentError(f"{path}: holds {type(found).__name__}, not one YAML mapping")
    return found


def _first(error: ValidationError) -> str:
    what = error.errors()[0]
    where = ".".join(str(part) for part in what["loc"])
    return f"{where}: {what['msg']}"
