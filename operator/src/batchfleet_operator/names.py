"""Every name that is part of our API: group, kinds, labels, annotations, children, conditions.

Nothing else in the operator spells one of these out.  A name here is a promise: people select by
these labels, alert on these reasons, and upgrades find their children by them.
"""

from __future__ import annotations

from typing import Final, NamedTuple

GROUP: Final = "batchfleet.io"
VERSION: Final = "v1alpha1"
API_VERSION: Final = f"{GROUP}/{VERSION}"
KIND: Final = "BatchInferenceService"
PLURAL: Final = "batchinferenceservices"
SINGULAR: Final = "batchinferenceservice"
SHORT_NAME: Final = "bis"
CATEGORY: Final = "batchfleet"
FIELD_MANAGER: Final = "batchfleet"

MAX_NAME_LENGTH: Final = 40
"""Leaves room in a label's and a pod's 63 characters for revision, ReplicaSet hash and suffix."""


class Kind(NamedTuple):
    """A kind of object that we read or write; ``plural`` is its name in REST paths."""

    api_version: str
    kind: str
    plural: str


DEPLOYMENT: Final = Kind("apps/v1", "Deployment", "deployments")
CONTROLLER_REVISION: Final = Kind("apps/v1", "ControllerRevision", "controllerrevisions")
CONFIG_MAP: Final = Kind("v1", "ConfigMap", "configmaps")
SERVICE: Final = Kind("v1", "Service", "services")
POD: Final = Kind("v1", "Pod", "pods")
NAMESPACE: Final = Kind("v1", "Namespace", "namespaces")
SECRET: Final = Kind("v1", "Secret", "secrets")
POD_DISRUPTION_BUDGET: Final = Kind("policy/v1", "PodDisruptionBudget", "poddisruptionbudgets")
NETWORK_POLICY: Final = Kind("networking.k8s.io/v1", "NetworkPolicy", "networkpolicies")
POD_MONITOR: Final = Kind("monitoring.coreos.com/v1", "PodMonitor", "podmonitors")
PARENT: Final = Kind(API_VERSION, KIND, PLURAL)

CHILD_KINDS: Final = (
    CONTROLLER_REVISION,
    CONFIG_MAP,
    DEPLOYMENT,
    SERVICE,
    POD_DISRUPTION_BUDGET,
    NETWORK_POLICY,
)
"""Kinds that every service has children of, in the order in which they are needed."""
OPTIONAL_KINDS: Final = (POD_MONITOR,)
"""Kinds that a cluster may lack: asked for now and then, never watched."""

# Labels of every child and pod. The first is what watches are narrowed by on the server.
LABEL_MANAGED_BY: Final = "app.kubernetes.io/managed-by"
LABEL_NAME: Final = "app.kubernetes.io/name"
LABEL_SERVICE: Final = f"{GROUP}/service"
LABEL_REVISION: Final = f"{GROUP}/revision"
LABEL_STABLE: Final = f"{GROUP}/stable"
LABEL_FAILED: Final = f"{GROUP}/failed"
"""On a ControllerRevision that was rolled back: not chosen again while the spec asks for it."""
LABEL_PROMOTED: Final = f"{GROUP}/promoted"
"""On the ControllerRevision for which somebody set the annotation for rollouts to "promote"."""
MANAGED_BY: Final = "batchfleet"
WORKER_NAME: Final = "batchfleet-worker"

ANNOTATION_LIVE_SETTINGS: Final = f"{GROUP}/live-settings"
"""On pods. Its value is a hash; changing it makes the kubelet refresh the mounted file at once."""

ANNOTATION_BYPASS: Final = f"{GROUP}/bypass"
"""On a service, with the value "true": lead clients past the sidecars, where the spec allows it."""

ANNOTATION_AUTOMATION: Final = f"{GROUP}/automation"
"""On a service or its namespace, with the value "paused": no alert action, no autoscaling."""

ANNOTATION_ROLLOUT: Final = f"{GROUP}/rollout"
"""On a service: "paused" holds a rollout at its step, "promote" takes the one asked for to its
end, "promote NAME" the revision of that name."""

ANNOTATION_FAILURE: Final = f"{GROUP}/failure"
"""On a ControllerRevision that was rolled back: why."""

ANNOTATION_DELETION_COST: Final = "controller.kubernetes.io/pod-deletion-cost"
"""Kubernetes' own, on pods: of too many, those of the least cost go first."""

# Inside the pod. The two container names are API: podTemplate is merged into them by name.
SIDECAR: Final = "sidecar"
ENGINE: Final = "engine"
PORT_HTTP: Final = 8080
PORT_ADMIN: Final = 9090
PORT_ENGINE: Final = 8000
LIVE_SETTINGS_DIRECTORY: Final = "/etc/batchfleet/live"
LIVE_SETTINGS_KEY: Final = "settings.json"
API_KEYS_DIRECTORY: Final = "/etc/batchfleet/keys"

# Conditions, all positive.
READY: Final = "Ready"
AVAILABLE: Final = "Available"
PROGRESSING: Final = "Progressing"
MODEL_READY: Final = "ModelReady"
SETTINGS_APPLIED: Final = "SettingsApplied"
METRICS_AVAILABLE: Final = "MetricsAvailable"
SCALING_ACTIVE: Final = "ScalingActive"
REMEDIATION_ACTIVE: Final = "RemediationActive"
BYPASSED: Final = "Bypassed"
"""Only there while somebody asks for it; the one that is better False."""

# Reasons that a condition is as it should be, or is on its way there.
AS_SPECIFIED: Final = "AsSpecified"
SERVING: Final = "Serving"
ROLLING_OUT: Final = "RollingOut"
ROLLED_OUT: Final = "RolledOut"
STARTING: Final = "Starting"
WARM: Final = "Warm"
APPLIED: Final = "Applied"
APPLYING: Final = "Applying"
SCALED_TO_ZERO: Final = "ScaledToZero"
PAUSED: Final = "Paused"
NO_READY_POD: Final = "NoReadyPod"
BY_ANNOTATION: Final = "ByAnnotation"
WATCHING: Final = "Watching"
OBSERVING: Final = "Observing"
ACTING: Final = "Acting"

# Why the fleet is as large as it is, in ScalingActive and status.scaling.
SIZED_BY_RATE: Final = "SizedByRate"
SIZED_BY_SLOTS: Final = "SizedBySlots"
SIZED_BY_MEMORY: Final = "SizedByMemory"
AT_MINIMUM: Final = "AtMinimum"
AT_MAXIMUM: Final = "AtMaximum"
SCHEDULED: Final = "Scheduled"
SCALED_OUT: Final = "ScaledOut"
HOLDING: Final = "Holding"
UNMEASURED: Final = "Unmeasured"
NO_METRICS: Final = "NoMetrics"
FALLBACK: Final = "Fallback"
UNKNOWN_TIME_ZONE: Final = "UnknownTimeZone"

# Why there are metrics, or none, in MetricsAvailable; the states of signals.
METRICS_FOUND: Final = "Found"
METRICS_MISSING: Final = "Missing"
METRICS_STALE: Final = "Stale"
PROMETHEUS_ERROR: Final = "PrometheusError"
NO_PROMETHEUS: Final = "NoPrometheus"

# Reasons that ask for a human.
INVALID_SPEC: Final = "InvalidSpec"
INVALID_POD_TEMPLATE: Final = "InvalidPodTemplate"
NAME_CONFLICT: Final = "NameConflict"
CRD_OUTDATED: Final = "CRDOutdated"
PROGRESS_DEADLINE_EXCEEDED: Final = "ProgressDeadlineExceeded"
IMAGE_PULL_FAILED: Final = "ImagePullFailed"
CONTAINER_FAILED: Final = "ContainerFailed"
UNSCHEDULABLE: Final = "Unschedulable"
PODS_REFUSED: Final = "PodsRefused"
SETTINGS_REJECTED: Final = "SettingsRejected"
API_KEYS_UNUSABLE: Final = "APIKeysUnusable"
HEADER_UNGUARDED: Final = "HeaderUnguarded"
BYPASS_NOT_ALLOWED: Final = "BypassNotAllowed"
ROLLED_BACK: Final = "RolledBack"
ROLLOUT_PAUSED: Final = "RolloutPaused"

PROBLEMS: Final = frozenset(
    {
        INVALID_SPEC,
        INVALID_POD_TEMPLATE,
        NAME_CONFLICT,
        CRD_OUTDATED,
        PROGRESS_DEADLINE_EXCEEDED,
        IMAGE_PULL_FAILED,
        CONTAINER_FAILED,
        UNSCHEDULABLE,
        PODS_REFUSED,
        SETTINGS_REJECTED,
        API_KEYS_UNUSABLE,
        HEADER_UNGUARDED,
        BYPASS_NOT_ALLOWED,
        ROLLED_BACK,
        ROLLOUT_PAUSED,
    }
)
"""Reasons whose events are warnings."""


def service_labels(service: str) -> dict[str, str]:
    """Labels of every child of ``service``."""
    return {LABEL_MANAGED_BY: MANAGED_BY, LABEL_SERVICE: service}


def revision_labels(service: str, revision: int) -> dict[str, str]:
    """Labels of the children that belong to one revision."""
    return service_labels(service) | {LABEL_REVISION: str(revision)}


def pod_selector(service: str) -> dict[str, str]:
    """What selects all pods of a service, whatever their revision."""
    return {LABEL_NAME: WORKER_NAME, LABEL_SERVICE: service}


def revision_name(service: str, revision: int) -> str:
    """Name of a revision's ControllerRevision and Deployment."""
    return f"{service}-{revision}"


def live_settings_name(service: str, revision: int) -> str:
    """Name of the ConfigMap that holds a revision's live settings."""
    return f"{service}-{revision}-live"
