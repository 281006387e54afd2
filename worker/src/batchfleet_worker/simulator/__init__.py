"""An engine simulator that speaks vLLM's API and metric names, for fleets without a GPU.

``batchfleet-worker simulate`` runs one (:func:`add_arguments`, :func:`run`); tests run one on
their own event loop (:func:`serve`).  Text, times and failures are made up, shapes and names are
those of a real vLLM: tests/contract/test_engine_contract.py holds them against recordings.
"""

from __future__ import annotations

from .answers import asked_hash, body_hash, caller_hash, headers_hash
from .batch import Capacity, Timing
from .faults import Faults
from .process import Simulator, run, serve
from .settings import Settings, add_arguments

__all__ = [
    "Capacity",
    "Faults",
    "Settings",
    "Simulator",
    "Timing",
    "add_arguments",
    "asked_hash",
    "body_hash",
    "caller_hash",
    "headers_hash",
    "run",
    "serve",
]
