"""Expressions of the dashboards: of the services that are chosen at the top of the page.

Numbers that the operator goes by are asked for in its own words (``number``); the rest are sums
over pods by what a picture tells apart.  ``$__rate_interval`` is Grafana's: at least four scrapes.
"""

from __future__ import annotations

from typing import Final

from batchfleet_operator.metering.promql import SERVICE, Definition
from batchfleet_operator.metering.promql.expression import By

CHOSEN: Final = 'namespace=~"$namespace",service=~"$service"'
WINDOW: Final = "$__rate_interval"
NAMED: Final = "{{namespace}}/{{service}}"  # the legend of a picture by service
OPERATOR: Final = "batchfleet_operator"


def number(definition: Definition, by: By = SERVICE) -> str:
    """One of the operator's own numbers."""
    return definition.query(by=by, pods=f'{CHOSEN},revision!=""', window=WINDOW)


def of(metric: str, *matchers: str) -> str:
    """The chosen services' series of a metric."""
    return f"{metric}{{{','.join((CHOSEN, *matchers))}}}"


def total(metric: str, by: str, *matchers: str) -> str:
    """A gauge's sum."""
    return f"sum by ({by}) ({of(metric, *matchers)})"


def rate(counter: str, by: str, *matchers: str) -> str:
    """A counter's growth per second."""
    return f"sum by ({by}) (rate({of(counter, *matchers)}[{WINDOW}]))"


def grown(counter: str, by: str, *matchers: str) -> str:
    """A counter's growth over the time that is shown."""
    return f"sum by ({by}) (increase({of(counter, *matchers)}[$__range]))"


def share(part: str, whole: str) -> str:
    """A share of what there is; none where there is nothing."""
    return f"({part})\n/ (({whole}) > 0)"


def quantile(q: float, histogram: str, by: str) -> str:
    """Interpolated within a bucket, so no better than its edges."""
    return f"histogram_quantile({q:g}, {rate(f'{histogram}_bucket', f'{by}, le' if by else 'le')})"


def mean(histogram: str, by: str) -> str:
    return share(rate(f"{histogram}_sum", by), rate(f"{histogram}_count", by))


def gpu(metric: str) -> str:
    """DCGM's, whose pod is ``exported_pod`` where its exporter's own pod took the label."""
    here = f'{metric}{{exported_pod="",pod!=""}}'
    there = f'{metric}{{exported_pod!=""}}'
    for label in ("pod", "namespace"):
        there = f'label_replace({there}, "{label}", "$1", "exported_{label}", "(.+)")'
    return f"({here} or {there})"
