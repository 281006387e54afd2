"""The ground that the API's models stand on: spelling, strictness, and the types they share."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Annotated, Any, NamedTuple, Self

from pydantic import BaseModel, ConfigDict, Field, JsonValue
from pydantic.alias_generators import to_camel

MAX_REPLICAS = 1000
"""Bounds what CEL and the status may cost; a fleet beyond it is several services."""


class Model(BaseModel):
    """Frozen, camelCase outside, and strict: an unknown or mistyped field is an error."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", alias_generator=to_camel, populate_by_name=True, strict=True
    )

    @classmethod
    def parse(cls, raw: Mapping[str, Any]) -> Self:
        """From JSON as the API server prints it. Raises pydantic's ``ValidationError``."""
        return cls.model_validate_json(json.dumps(raw))

    def as_json(self) -> dict[str, Any]:
        """What was set, in the API's spelling; unset fields are left out."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True, exclude_unset=True)


class Rule(NamedTuple):
    """A CEL rule over the fields of one model."""

    cel: str
    says: str  # what to write instead
    naming: str | None = None  # CEL that makes a sentence which names the fields at fault


def rules(*all_of: Rule) -> ConfigDict:
    """Model configuration that carries ``all_of`` into the schema."""
    made: list[JsonValue] = []
    for rule in all_of:
        naming = {} if rule.naming is None else {"messageExpression": rule.naming}
        made.append({"rule": rule.cel, "message": rule.says, **naming})
    return ConfigDict(json_schema_extra={"x-kubernetes-validations": made})


Name = Annotated[
    str, Field(min_length=1, max_length=253, pattern=r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$")
]
"""Name of another object in the service's namespace."""

Image = Annotated[str, Field(min_length=1, max_length=512)]
Text = Annotated[str, Field(min_length=1, max_length=1024)]
Word = Annotated[str, Field(min_length=1, max_length=256)]
Path = Annotated[str, Field(min_length=1, max_length=1024, pattern=r"^/")]
Flag = bool
Count = Annotated[int, Field(ge=1, le=2_147_483_647)]
CountOrZero = Annotated[int, Field(ge=0, le=2_147_483_647)]
Seconds = Annotated[int, Field(ge=1, le=86_400)]
Percent = Annotated[int, Field(ge=0, le=100)]
Quantity = Annotated[
    str, Field(max_length=32, pattern=r"^[0-9]+(\.[0-9]+)?(m|k|Ki|M|Mi|G|Gi|T|Ti)?$")
]
"""A Kubernetes quantity, written as a string."""
Decimal = Annotated[str, Field(max_length=16, pattern=r"^[0-9]+(\.[0-9]+)?$")]
"""A number with a point, written as a string: the API has no floats."""
Fraction = Annotated[str, Field(max_length=16, pattern=r"^(0(\.[0-9]+)?|1(\.0+)?)$")]
LabelValue = Annotated[str, Field(max_length=63)]
Opaque = Annotated[
    dict[str, Any], Field(json_schema_extra={"x-kubernetes-preserve-unknown-fields": True})
]
"""An object whose fields are somebody else's; kept as written."""
