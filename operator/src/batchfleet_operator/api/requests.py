"""``spec.requests``: limits of single requests and of those who send them.  All of it is live."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from batchfleet_operator.api.schema import Count, Model, Rule, Seconds, rules

Tenant = Annotated[str, Field(min_length=1, max_length=128, pattern=r"^[!-+\--~]+$")]
"""Visible ASCII without a comma: what the sidecar takes for a tenant's name."""


class RateLimit(Model):
    """How much may be asked for per minute, by the service as a whole."""

    model_config = rules(
        Rule(
            "has(self.requestsPerMinute) || has(self.tokensPerMinute)",
            "an entry of requests.rateLimits limits nothing: give it requestsPerMinute, "
            "tokensPerMinute, or both.",
        ),
        Rule(
            "!has(self.tenant) || self.scope == 'Tenant'",
            "requests.rateLimits: scope Service counts everybody together: leave tenant out, or "
            "write scope Tenant.",
        ),
    )

    scope: Literal["Tenant", "Service"] = Field(
        description="Tenant: each tenant on its own. Service: all together."
    )
    tenant: Tenant | None = Field(
        default=None,
        description="The one tenant that this entry is for, instead of the entry for all.",
    )
    requests_per_minute: Count | None = Field(
        default=None, description="Requests per minute; more are refused with 429."
    )
    tokens_per_minute: Annotated[int, Field(ge=1, le=10**12)] | None = Field(
        default=None,
        description="Prompt and answer tokens per minute, as the engine counts them.",
    )


class Requests(Model):
    """Limits of single requests, and of those who send them."""

    model_config = rules(
        Rule(
            "!has(self.rateLimits) || self.rateLimits.all(a, self.rateLimits.exists_one(b, "
            "a.scope == b.scope && (has(a.tenant) ? a.tenant : '') == "
            "(has(b.tenant) ? b.tenant : '')))",
            "requests.rateLimits has two entries for the same scope and tenant: merge them.",
        )
    )

    timeout_seconds: Seconds = Field(
        default=300,
        description="Longest time from a request's arrival to the end of its answer. "
        "Live, but for what drain.timeoutSeconds says.",
    )
    queue_timeout_seconds: Seconds | None = Field(
        default=None,
        description="Longest time that a request waits for the engine, then 503; unset: the "
        "profile's, or timeoutSeconds.",
    )
    reserved_slots_percent: Annotated[int, Field(ge=0, le=90)] | None = Field(
        default=None,
        description="Share of the batch kept for requests with a priority above 0; unset: 0.",
    )
    max_connection_age_seconds: Annotated[int, Field(ge=0, le=86_400)] | None = Field(
        default=None,
        description="After this, give or take some, an answer ends its connection, so that "
        "clients find new pods; 0: never; unset: 300, and less while the new pods of a rollout "
        "have too few requests to be judged by.",
    )
    rate_limits: Annotated[tuple[RateLimit, ...], Field(max_length=32)] | None = Field(
        default=None,
        description="Rates of the whole service: each ready pod enforces its share of them.",
    )
