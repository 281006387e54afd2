"""Recording rules and alerts for people, as the files that the chart makes PrometheusRules of.

What is recorded and what alerts is in ``fleet`` and ``operator``; here is how
Prometheus wants it written.
``make generate`` runs this:

    python -m batchfleet_operator.rules --write ROOT    # make them
    python -m batchfleet_operator.rules --check ROOT    # exit 1 and name those that are stale
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import yaml

from batchfleet_operator.rules import fleet, operator
from batchfleet_operator.rules.alert import Alert, Record

FOLDER: Final = "helm/batchfleet/files/rules"
HEADER: Final = (
    "# Generated from operator/src/batchfleet_operator by `make generate`. Do not edit.\n"
)
RUNBOOKS: Final = "docs/monitoring.md"


def files() -> dict[str, str]:
    """Path below the root of the tree → what is to be in it."""
    return {
        f"{FOLDER}/fleet.yaml": _file(
            {
                "batchfleet.records": fleet.RECORDS,
                "batchfleet.services": fleet.SERVICES,
                "batchfleet.engines": fleet.ENGINES,
            }
        ),
        f"{FOLDER}/operator.yaml": _file(
            {
                "batchfleet.operator": operator.ITSELF,
                "batchfleet.automation": operator.AUTOMATION,
            }
        ),
    }


def _file(groups: Mapping[str, tuple[Alert | Record, ...]]) -> str:
    document = {
        "groups": [
            {"name": name, "rules": [_rule(each) for each in rules]}
            for name, rules in groups.items()
        ]
    }
    return HEADER + yaml.dump(
        document, Dumper=_Dumper, sort_keys=False, width=100, allow_unicode=True
    )


def _rule(rule: Alert | Record) -> dict[str, Any]:
    if isinstance(rule, Record):
        return {"record": rule.name, "expr": rule.expr}
    return {
        "alert": rule.name,
        "expr": rule.expr,
        **({"for": rule.lasting} if rule.lasting else {}),
        "labels": {"severity": rule.severity},
        "annotations": {
            "summary": rule.summary,
            "description": rule.description,
            "runbook": f"{RUNBOOKS}#{rule.name.lower()}",
        },
    }


class _Dumper(yaml.SafeDumper):
    """Expressions of several lines as blocks."""


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    style = "|" if "\n" in text else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _text)
