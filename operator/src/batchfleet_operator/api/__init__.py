"""The CRD as frozen pydantic models: the one source of its schema, its reference and its parser."""

from batchfleet_operator.api.engine import GPU, Engine
from batchfleet_operator.api.service import BatchInferenceService, Spec
from batchfleet_operator.api.status import Status

__all__ = ["GPU", "BatchInferenceService", "Engine", "Spec", "Status"]
