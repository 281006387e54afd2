"""What is wrong with a document that a person wrote, in that person's words, one line a fault.

The API server says so to who applies a service; for files that only ``batchfleet-operator`` sees
(``plan -f``, ``--config``, ``--observed``) this does, in place of pydantic's own words.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import Any

from pydantic import BaseModel, ValidationError


def complaints(error: ValidationError, model: type[BaseModel] | None = None) -> list[str]:
    """One line for each fault: where, and what to write.  ``model``: whose fields to offer."""
    schema = {} if model is None else model.model_json_schema(by_alias=True)
    return [
        f"{'.'.join(str(part) for part in each['loc'])}: {_said(dict(each), schema)}"
        for each in error.errors()
    ]


def meant(word: str, known: Sequence[str]) -> str:
    """``; did you mean X?``, where one of ``known`` is near."""
    lowered = {each.lower(): each for each in known}
    near = get_close_matches(word.lower(), list(lowered), n=1)
    return f"; did you mean {lowered[near[0]]}?" if near else ""


def _said(fault: Mapping[str, Any], schema: Mapping[str, Any]) -> str:
    if fault["type"] == "extra_forbidden":
        *above, name = fault["loc"]
        return "there is no such field" + meant(str(name), list(_fields(schema, above)))
    if fault["type"] == "missing":
        return "is missing"
    if fault["type"] == "literal_error":
        known = fault["ctx"]["expected"].replace("'", "").replace(" or ", ", ").split(", ")
        return f"is {fault['input']!r}; one of {', '.join(known)}" + meant(
            str(fault["input"]), known
        )
    return str(fault["msg"])


def _fields(schema: Mapping[str, Any], path: Sequence[int | str]) -> Mapping[str, Any]:
    """The fields of the object at ``path``; none where the schema does not say."""
    node = schema
    for step in [*path, None]:
        while "$ref" in node or "anyOf" in node:
            if "$ref" in node:
                node = schema["$defs"][node["$ref"].rsplit("/", 1)[-1]]
            else:
                (node, *_) = [each for each in node["anyOf"] if each != {"type": "null"}]
        if step is not None:
            inside = node.get("items") if isinstance(step, int) else None
            node = inside or node.get("properties", {}).get(step, {})
    return node.get("properties", {})  # type: ignore[no-any-return]
