"""Start-up settings: the sidecar's environment, read once, refused in one sentence each.

What may change under running requests is elsewhere (``live``); what is here needs a restart.
A variable with our prefix that is no setting is an error: a misspelt limit must not be ignored.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from batchfleet_worker.openai import Routes

PREFIX = "BATCHFLEET_"

Port = Annotated[int, Field(ge=1, le=65535)]
Bytes = Annotated[int, Field(ge=1)]
Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class Warmup(StrEnum):
    AUTO = "Auto"  # ready after a first real completion
    DISABLED = "Disabled"  # ready when the engine says that it is healthy


class SettingsError(Exception):
    """What is wrong with the environment, a sentence per variable."""


class Settings(BaseModel):
    """Field ``x_y`` is the variable BATCHFLEET_X_Y."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    upstream: str = Field("http://127.0.0.1:8000", description="The engine's address.")
    host: str = Field("0.0.0.0", description="Address of the data port.")  # noqa: S104 - a pod
    port: Port = Field(8080, description="The data port: clients connect here.")
    admin_host: str = Field("0.0.0.0", description="Address of the admin port.")  # noqa: S104
    admin_port: Port = Field(
        9090, description="The admin port: /metrics /livez /readyz /engine/livez /drain /state."
    )
    live_settings: Path | None = Field(
        None, description="File of live settings, watched; without it their defaults apply."
    )
    drain_timeout_seconds: Seconds = Field(
        300, description="How long a drain waits for requests that are under way."
    )
    drain_settle_seconds: Seconds = Field(
        10, description="How long a drain goes on accepting, until no endpoint list names this pod."
    )
    max_body_bytes: Bytes = Field(
        32 * 1024 * 1024, description="Larger request bodies are refused with 413."
    )
    max_merge_body_bytes: Bytes = Field(
        256 * 1024, description="Requests with larger bodies are relayed, never merged."
    )
    max_header_bytes: Bytes = Field(
        64 * 1024, description="Larger request heads are refused with 431."
    )
    warmup: Warmup = Field(
        Warmup.AUTO, description="Auto: ready after a real completion; Disabled: when healthy."
    )
    engine_stall_seconds: Annotated[float, Field(ge=1, allow_inf_nan=False)] = Field(
        120, description="A busy engine without an iteration for this long is not alive."
    )
    replay_bytes: Bytes = Field(
        256 * 1024, description="Of an answer kept for clients that join late; per engine call."
    )
    lag_bytes: Bytes = Field(
        1024 * 1024, description="By which a client may lag behind others that share its answer."
    )
    extra_paths: str = Field(
        "", description="More paths, METHOD:/path=relay|merge|pass, separated by commas."
    )
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(
        "INFO", description="Requests are never logged one by one."
    )

    @field_validator("upstream")
    @classmethod
    def _is_address(cls, value: str) -> str:
        parts = urlsplit(value)
        if parts.scheme != "http" or not parts.hostname or parts.path.strip("/") or parts.query:
            raise ValueError("write it as http://host:port, without a path")
        return f"http://{parts.netloc}"

    @field_validator("extra_paths")
    @classmethod
    def _are_paths(cls, value: str) -> str:
        Routes(value)
        return value

    @property
    def upstream_address(self) -> tuple[str, int]:
        parts = urlsplit(self.upstream)
        return parts.hostname or "", parts.port or 80


def from_environment(environment: Mapping[str, str]) -> Settings:
    """Raises :class:`SettingsError`."""
    given = {
        name.removeprefix(PREFIX).lower(): value
        for name, value in environment.items()
        if name.startswith(PREFIX)
    }
    try:
        return Settings.model_validate(given)
    except ValidationError as invalid:
        sentences = [
            _sentence(str(error["loc"][0]), error["type"], error["msg"], str(error["input"]))
            for error in invalid.errors(include_url=False)
        ]
        raise SettingsError("\n".join(sentences)) from None


def _sentence(field: str, kind: str, message: str, value: str) -> str:
    variable = PREFIX + field.upper()
    if kind != "extra_forbidden":
        return f"{variable}={value!r}: {message.removeprefix('Value error, ')}."
    close = difflib.get_close_matches(field, Settings.model_fields, n=1)
    hint = f"; did you mean {PREFIX}{close[0].upper()}?" if close else "."
    return f"{variable} is not a setting of the sidecar{hint}"


def described() -> str:
    """Every setting with its default and meaning, for ``--help``."""
    lines = []
    for name, field in Settings.model_fields.items():
        default = "unset" if field.default is None else str(field.default) or "none"
        lines.append(f"  {PREFIX}{name.upper()} ({default})\n      {field.description}")
    return "\n".join(lines)
