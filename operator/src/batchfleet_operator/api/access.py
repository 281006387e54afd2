"""``spec.access``: who may send requests, and as whom.

What the sidecar must know of it is part of a revision; from where a trusted header may come is
not: that becomes a NetworkPolicy.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from batchfleet_operator.api.schema import LabelValue, Model, Name, Rule, Word, rules

Labels = Annotated[dict[Word, LabelValue], Field(max_length=16)]


class APIKeys(Model):
    """Keys of a Secret."""

    secret_name: Name = Field(
        description="Secret in the service's namespace with one entry per tenant, named like it; "
        "each line of it is a key, and may end with priority=N, the tenant's ceiling with this "
        "key. sha256:HEX stands for a key. Changes reach running pods within about a minute."
    )


class Peer(Model):
    """Pods that may set the header."""

    model_config = rules(
        Rule(
            "(has(self.namespaceLabels) && self.namespaceLabels.size() > 0) || "
            "(has(self.podLabels) && self.podLabels.size() > 0)",
            "an entry of access.trustedHeader.from without labels would let everybody in: give it "
            "namespaceLabels, podLabels, or both.",
        )
    )

    namespace_labels: Labels | None = Field(
        default=None, description="Labels of their namespaces; unset: the service's own namespace."
    )
    pod_labels: Labels | None = Field(
        default=None, description="Their labels; unset: all pods of those namespaces."
    )


class TrustedHeader(Model):
    """A header that a gateway sets."""

    model_config = rules(
        Rule(
            "has(self.from) && self.from.size() > 0",
            "access.trustedHeader.from must say which pods set the header, or anybody could claim "
            "to be any tenant: name the gateway's namespaceLabels and podLabels.",
        )
    )

    name: Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9-]+$")] = Field(
        description="Name of the header that holds the tenant. The gateway must set it on every "
        "request, and remove what clients wrote there."
    )
    from_: Annotated[tuple[Peer, ...], Field(max_length=16)] | None = Field(
        default=None,
        alias="from",
        description="Who may connect to the data port, by a NetworkPolicy; nobody else may.",
    )


class Access(Model):
    """Who may send requests."""

    model_config = rules(
        Rule(
            "has(self.apiKeys) == (self.type == 'APIKeys')",
            "access.apiKeys and access.type APIKeys go together: write both, or neither.",
        ),
        Rule(
            "has(self.trustedHeader) == (self.type == 'TrustedHeader')",
            "access.trustedHeader and access.type TrustedHeader go together: write both, or "
            "neither.",
        ),
    )

    type: Literal["Open", "APIKeys", "TrustedHeader"] = Field(
        default="Open",
        description="Open: whoever reaches the Service, and Authorization tells tenants apart. "
        "APIKeys: who sends a key of a Secret. TrustedHeader: whom a gateway's header names.",
    )
    api_keys: APIKeys | None = Field(default=None, description="Keys of a Secret.")
    trusted_header: TrustedHeader | None = Field(
        default=None, description="A header that a gateway sets."
    )
    max_priority: Annotated[int, Field(ge=-1000, le=1000)] | None = Field(
        default=None,
        description="Highest priority that requests may ask for (x-batchfleet-priority), where a "
        "key has none of its own; unset: 100.",
    )
    prefix_cache: Literal["Shared", "PerTenant"] | None = Field(
        default=None,
        description="Whose prompts make a tenant's faster in vLLM's prefix cache. Shared: "
        "everybody's, so that who measures can find out what others ask. PerTenant: its own, by a "
        "cache_salt in its requests; what all tenants' prompts begin with is then computed for "
        "each of them. Unset: Shared.",
    )

    @property
    def of_pods(self) -> Access | None:
        """The part that pods depend on; ``None``: what they do without being told."""
        if self.type == "Open" and self.max_priority is None and self.prefix_cache is None:
            return None
        if self.trusted_header is None:
            return self
        header = TrustedHeader(name=self.trusted_header.name)
        return self.model_copy(update={"trusted_header": header})
