"""``spec.worker``: the sidecar's container.  All of it is part of a revision."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from batchfleet_operator import names
from batchfleet_operator.api.schema import Image, Model, Percent, Quantity, Rule, rules

MAX_WARMUP_CHARACTERS = 20_000
"""Six bytes each at most, as JSON, within the 128 KiB that Linux allows one variable."""


class Amounts(Model):
    """Resources of one container."""

    cpu: Quantity | None = Field(default=None, description='CPU, such as "500m".')
    memory: Quantity | None = Field(default=None, description='Memory, such as "256Mi".')


def _at_most(resource: str) -> str:
    asked, limit = f"self.requests.{resource}", f"self.limits.{resource}"
    return (
        f"!has(self.requests) || !has(self.limits) || !has({asked}) || !has({limit}) || "
        f"quantity({asked}).compareTo(quantity({limit})) <= 0"
    )


class Resources(Model):
    """What a container asks for and is held to."""

    model_config = rules(
        Rule(_at_most("cpu"), "worker.resources: lower requests.cpu, or raise limits.cpu to it."),
        Rule(
            _at_most("memory"), "worker.resources: lower requests.memory, or raise limits.memory."
        ),
    )

    requests: Amounts | None = Field(default=None, description="What is reserved on the node.")
    limits: Amounts | None = Field(default=None, description="What is never exceeded.")


class Tracing(Model):
    """Spans of requests."""

    model_config = rules(
        Rule(
            "!self.endpoint.endsWith('/v1/traces')",
            "worker.tracing.endpoint: leave /v1/traces out, the sidecar adds it.",
        )
    )

    endpoint: Annotated[
        str, Field(min_length=1, max_length=512, pattern=r"^https?://[^ /]+(/[^ ]*)?$")
    ] = Field(
        description="Address of an OpenTelemetry collector's HTTP port, such as "
        "http://collector.monitoring:4318; spans go to /v1/traces there."
    )
    percent: Percent | None = Field(
        default=None,
        description="Share of the requests that become spans, of those that come without a trace "
        "of their own; unset: 1. Trace headers are passed on either way.",
    )


class Worker(Model):
    """The sidecar in front of the engine."""

    model_config = rules(
        Rule(
            "!has(self.warmupPrompts) || self.warmupPrompts.map(p, p.size()).sum() <= "
            f"{MAX_WARMUP_CHARACTERS}",
            f"worker.warmupPrompts may have at most {MAX_WARMUP_CHARACTERS} characters together: "
            "they travel in one environment variable. Shorten them.",
        )
    )

    image: Image | None = Field(
        default=None,
        description="Image of the sidecar; unset: the chart's when the revision is cut.",
    )
    resources: Resources | None = Field(
        default=None,
        description="Resources of the sidecar; unset: 100m CPU, 128Mi to 512Mi memory. Half "
        "of limits.memory (unset: of 512Mi) holds request bodies, replays and the cache.",
    )
    warmup_prompts: (
        Annotated[
            tuple[Annotated[str, Field(min_length=1, max_length=8192)], ...], Field(max_length=16)
        ]
        | None
    ) = Field(
        default=None,
        description="Prompts that a new engine answers before its pod is ready, such as the long "
        "beginnings that your requests share; unset: one short one.",
    )
    bypass: Literal["Disabled", "Allowed"] | None = Field(
        default=None,
        description="Allowed: the engine listens to clients too, and while the service carries the "
        f'annotation {names.ANNOTATION_BYPASS}: "true" the Service leads past the sidecar, without '
        "merging, limits, access and drain. A Custom engine must listen on all addresses itself. "
        "Unset: Disabled.",
    )
    access_log_percent: Percent | None = Field(
        default=None,
        description="Share of the requests that are logged, as JSON on standard output; unset: 0.",
    )
    tracing: Tracing | None = Field(default=None, description="Spans of requests; unset: none.")
