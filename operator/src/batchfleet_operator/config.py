"""The operator's configuration file: what a cluster's administrator decides for all services.

Read once at start by the shell; a value of it reaches a service only when something is rendered.
What ends up in a pod (images, ``serviceDefaults``) is stored in the revision that was rendered
with it, so that changing this file restarts nothing.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from batchfleet_operator.api.schema import Model
from batchfleet_operator.api.service import PodTemplate


class Images(Model):
    """Images for services that do not name their own."""

    vllm: str = "vllm/vllm-openai:v0.11.0"
    worker: str = "batchfleet-worker:0.1.0"


class PullSecret(Model):
    """A Secret of the service's namespace with registry credentials."""

    name: str


class ServiceDefaults(Model):
    """What lies beneath every service's own ``podTemplate``."""

    pod_template: PodTemplate | None = None
    image_pull_secrets: tuple[PullSecret, ...] = ()
    http_proxy: str | None = None
    https_proxy: str | None = None
    no_proxy: str | None = None
    hf_endpoint: str | None = None


class PrometheusConfig(Model):
    """The Prometheus that is asked about all services; without an address none is."""

    url: Annotated[str, Field(pattern=r"^https?://[^\s]+$")] | None = None
    credentials_directory: str | None = None
    """Mounted Secret: token, or username and password; ca.crt, tls.crt, tls.key."""
    tick_seconds: Annotated[int, Field(ge=1, le=300)] = 15
    timeout_seconds: Annotated[int, Field(ge=1, le=60)] = 10
    max_age_seconds: Annotated[int, Field(ge=1, le=900)] = 60
    """Older samples are no samples: two scrapes of the usual 30 s."""
    series_labels: dict[str, str] = Field(default_factory=dict)
    """Labels that all series of this cluster carry, where a Prometheus has several clusters."""
    allow_queries: bool = False
    """Queries of services run with the operator's rights, so an administrator allows them."""
    allow_sources: bool = False
    """Services may name a Prometheus, and Secrets, of their own."""


class Monitoring(Model):
    """Labels that the cluster's Prometheus selects PodMonitors by, and its address."""

    labels: dict[str, str] = Field(default_factory=dict)
    scrape_interval_seconds: Annotated[int, Field(ge=1, le=300)] | None = None
    """How often services' pods are scraped; None: as Prometheus does by default."""
    prometheus: PrometheusConfig = PrometheusConfig()


class NetworkPolicyConfig(Model):
    """Who may reach the admin port (metrics, drain, state) of the workers."""

    enabled: bool = True
    admin_from: tuple[dict[str, Any], ...] = ()
    """NetworkPolicyPeers: Prometheus and the operator; none: only the kubelet of the pod's node."""


class Config(Model):
    """The whole file; every part of it may be left out."""

    images: Images = Images()
    service_defaults: ServiceDefaults = ServiceDefaults()
    monitoring: Monitoring = Monitoring()
    network_policy: NetworkPolicyConfig = NetworkPolicyConfig()
