"""How the property tests run: a slow machine is no fault of what they test."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

# CI tries the same examples each time, so that what it says is about the change; people's own runs
# explore.  The first text that a fresh checkout draws builds a table for seconds.
settings.register_profile(
    "batchfleet",
    deadline=None,
    derandomize="CI" in os.environ,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("batchfleet")
