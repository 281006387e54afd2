"""PromQL as values: one definition is one number, asked of whatever pods, by service or by pod.

Every series of a worker pod carries namespace, pod, service and revision: the PodMonitor's
relabelings see to it.  The last two also tell our series from those of other scrape configurations.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from string import Template
from typing import Final, Literal

By = Literal["namespace, service", "namespace, service, pod"]
SERVICE: Final[By] = "namespace, service"
POD: Final[By] = "namespace, service, pod"

EVERY: Final = 'service!="",revision!=""'
"""Matchers of all our series."""

NAMED_MOST: Final = 20
"""Services that a matcher names; of more, all are asked for, and the rest is thrown away."""

SIGNAL: Final = "signal"
"""Label by which the answers to a query of several definitions are told apart."""


@dataclass(frozen=True, slots=True)
class Definition:
    """One number.  ``text`` has $by (labels to group by), $pods (matchers) and $window."""

    name: str
    help: str
    text: str

    def query(self, *, by: By = SERVICE, pods: str = EVERY, window: str = "1m") -> str:
        """The query for it, one sample for each group."""
        filled = Template(self.text).substitute(by=by, pods=pods, window=window)
        return " ".join(filled.split())


def together(queries: Mapping[str, str]) -> str:
    """One query for several numbers: each sample says by its label ``signal`` whose it is."""
    return " or ".join(
        f'label_replace({query}, "{SIGNAL}", {quoted(name)}, "", "")'
        for name, query in queries.items()
    )


def pods_of(services: Collection[tuple[str, str]], labels: Mapping[str, str]) -> str:
    """Matchers for the pods of ``services`` (namespace and name), or for more than these.

    ``labels``: what all series of this cluster carry, where a Prometheus has several clusters.
    """
    own = "".join(f",{name}={quoted(value)}" for name, value in sorted(labels.items()))
    if not 0 < len(services) <= NAMED_MOST:
        return EVERY + own
    namespaces, names = ({each[i] for each in services} for i in (0, 1))
    return f'{_one_of("namespace", namespaces)},{_one_of("service", names)},revision!=""{own}'


def filled(query: str, values: Mapping[str, str]) -> str:
    """A query of a service's own with $namespace, $service and so on replaced.

    What is not among ``values`` stays as it is, and Prometheus says what it thinks of it.
    """
    return re.sub(
        r"\$([a-z]+)\b(?!_)",
        lambda found: quoted(values[found[1]])[1:-1] if found[1] in values else found[0],
        query,
    )


def seconds(number: float) -> str:
    """A duration."""
    return f"{max(1, round(number))}s"


def quoted(text: str) -> str:
    """A string literal."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'


def _one_of(label: str, values: Collection[str]) -> str:
    if len(values) == 1:
        return f"{label}={quoted(next(iter(values)))}"
    return f"{label}=~{quoted('|'.join(re.escape(value) for value in sorted(values)))}"
