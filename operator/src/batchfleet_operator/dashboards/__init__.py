"""Grafana dashboards, as the files that the chart makes ConfigMaps of; ``make generate`` runs this.

    python -m batchfleet_operator.dashboards --write ROOT    # make them
    python -m batchfleet_operator.dashboards --check ROOT    # exit 1 and name those that are stale

A module per dashboard says what is on it, in the words of ``panels`` and ``series``.  They ask for
the metrics themselves, not for what the recording rules keep: those may not be installed.
"""

from __future__ import annotations

import json
from typing import Final

from batchfleet_operator.dashboards.fleet import DASHBOARD as FLEET
from batchfleet_operator.dashboards.merging import DASHBOARD as MERGING
from batchfleet_operator.dashboards.panels import as_json
from batchfleet_operator.dashboards.remediation import DASHBOARD as REMEDIATION
from batchfleet_operator.dashboards.service import DASHBOARD as SERVICE

FOLDER: Final = "helm/batchfleet/files/dashboards"
DASHBOARDS: Final = {
    "fleet": FLEET,
    "service": SERVICE,
    "merging": MERGING,
    "remediation": REMEDIATION,
}


def files() -> dict[str, str]:
    """Path below the root of the tree → what is to be in it."""
    return {
        f"{FOLDER}/{name}.json": json.dumps(as_json(dashboard), indent=1, ensure_ascii=False) + "\n"
        for name, dashboard in DASHBOARDS.items()
    }
