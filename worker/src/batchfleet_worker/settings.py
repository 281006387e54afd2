"""Start-up settings: the sidecar's environment, read once, refused in one sentence each.

What may change under running requests is elsewhere (``live``); what is here needs a restart.
A variable with our prefix that is no setting is an error: a misspelt limit must not be ignored.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from batchfleet_worker.meaning import EnginePriority
from batchfleet_worker.openai import Routes

PREFIX = "BATCHFLEET_"

MOST_PROMPTS = 16

Port = Annotated[int, Field(ge=1, le=65535)]
Bytes = Annotated[int, Field(ge=1)]
Percent = Annotated[float, Field(ge=0, le=100, allow_inf_nan=False)]
Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class Warmup(StrEnum):
    AUTO = "Auto"  # ready after a first real completion
    DISABLED = "Disabled"  # ready when the engine says that it is healthy


class AccessType(StrEnum):
    OPEN = "Open"  # whoever reaches the port; Authorization tells tenants apart
    API_KEYS = "APIKeys"  # who sends a key of the folder
    TRUSTED_HEADER = "TrustedHeader"  # whom the header names, which a gateway sets


class PrefixCache(StrEnum):
    SHARED = "Shared"  # as the engine does it: a beginning that was seen is faster, for everybody
    PER_TENANT = "PerTenant"  # for who sent it only


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
    memory_bytes: Bytes = Field(
        256 * 1024 * 1024,
        description="Held for others at once: bodies, what clients have not taken yet, answers "
        "kept for late joiners, the cache.",
    )
    head_timeout_seconds: Seconds = Field(
        10, description="For a request's head to arrive; then it is refused with 408."
    )
    body_timeout_seconds: Seconds = Field(
        120, description="For a body to arrive, or for a client to take its answer: 2 Mbit/s."
    )
    idle_timeout_seconds: Seconds = Field(
        620, description="Unused client connections are closed; longer than load balancers' 600."
    )
    warmup: Warmup = Field(
        Warmup.AUTO, description="Auto: ready after a real completion; Disabled: when healthy."
    )
    warmup_prompts: str = Field(
        "", description="JSON list of at most 16 prompts, asked once of each new engine."
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
    access: AccessType = Field(
        AccessType.OPEN, description="Who may ask: Open, APIKeys or TrustedHeader."
    )
    api_keys: Path | None = Field(
        None, description="APIKeys: folder with one file of keys per tenant, watched."
    )
    tenant_header: Annotated[str, Field(pattern=r"^[A-Za-z0-9-]{1,64}$")] | None = Field(
        None, description="TrustedHeader: the header that names the tenant."
    )
    tenant_max_priority: Annotated[int, Field(ge=-1000, le=1000)] = Field(
        100, description="Highest priority that a client may ask for; a key may have its own."
    )
    engine_priority: EnginePriority = Field(
        EnginePriority.STRIP,
        description="A request's priority in the engine's own queue: Strip, or Negate where vLLM "
        "runs with --scheduling-policy priority.",
    )
    prefix_cache: PrefixCache = Field(
        PrefixCache.SHARED,
        description="Whose prompts make a tenant's faster in vLLM's prefix cache: Shared, "
        "everybody's; PerTenant, its own, so that nobody can measure what others ask.",
    )
    extra_paths: str = Field(
        "", description="More paths, METHOD:/path=relay|merge|pass, separated by commas."
    )
    access_log_percent: Percent = Field(
        0, description="Of the requests, one line of JSON each on standard output; 0: none."
    )
    traces_endpoint: str | None = Field(
        None, description="OpenTelemetry collector's HTTP address; unset: no spans are made."
    )
    traces_percent: Percent = Field(
        1, description="Of the requests that bring no trace of their own, become spans."
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

    @field_validator("warmup_prompts")
    @classmethod
    def _are_prompts(cls, value: str) -> str:
        _prompts(value)
        return value

    @field_validator("extra_paths")
    @classmethod
    def _are_paths(cls, value: str) -> str:
        Routes(value)
        return value

    @property
    def salts_prefixes(self) -> bool:
        return self.prefix_cache is PrefixCache.PER_TENANT

    @property
    def held_body_bytes(self) -> int:
        """A longer body is passed on while it still arrives.  Not where the engine obeys a body's
        priority, or needs a salt: what we have not read whole, we cannot change."""
        if self.salts_prefixes or self.engine_priority is EnginePriority.NEGATE:
            return self.max_body_bytes
        return self.max_merge_body_bytes

    @property
    def prompts(self) -> tuple[str, ...]:
        return _prompts(self.warmup_prompts)

    @property
    def upstream_address(self) -> tuple[str, int]:
        parts = urlsplit(self.upstream)
        return parts.hostname or "", parts.port or 80


def _prompts(text: str) -> tuple[str, ...]:
    """Raises ``ValueError``."""
    try:
        prompts = json.loads(text or "[]")
    except ValueError:
        prompts = None
    if not isinstance(prompts, list) or not all(isinstance(each, str) for each in prompts):
        raise ValueError("write it as a JSON list of strings")
    if len(prompts) > MOST_PROMPTS:
        raise ValueError(f"at most {MOST_PROMPTS} prompts, because a pod is ready after the last")
    return tuple(prompts)


def from_environment(environment: Mapping[str, str]) -> Settings:
    """Raises :class:`SettingsError`."""
    given = {
        name.removeprefix(PREFIX).lower(): value
        for name, value in environment.items()
        if name.startswith(PREFIX)
    }
    try:
        settings = Settings.model_validate(given)
    except ValidationError as invalid:
        sentences = [
            _sentence(str(error["loc"][0]), error["type"], error["msg"], str(error["input"]))
            for error in invalid.errors(include_url=False)
        ]
        raise SettingsError("\n".join(sentences)) from None
    for access, needed in (
        (AccessType.API_KEYS, "api_keys"),
        (AccessType.TRUSTED_HEADER, "tenant_header"),
    ):
        if settings.access is access and getattr(settings, needed) is None:
            raise SettingsError(f"{PREFIX}ACCESS={access.value} needs {PREFIX}{needed.upper()}.")
    return settings


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
