"""Which single pods a rule's numbers call ill, and whether one of them stands out.

Asked by ``proposal`` before a pod is restarted.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import timedelta
from statistics import median

from batchfleet_operator.metering.signals import Reading
from batchfleet_operator.remediation.case import PodFact
from batchfleet_operator.remediation.presets import Policy

OUTLIER = 3.0
"""Times the median of the other pods.  Of the others: in a fleet of two a pod would be compared
with itself."""
LEAST_POD_SHARE = 0.5
LEAST_POD_SAMPLES = 10
"""A pod with fewer requests than half an even share of minSamples, or ten, is not judged: in a
large fleet one failed request of two would be half of a pod's."""


def sick_pods(
    policy: Policy, run: Sequence[Reading], pods: Sequence[PodFact]
) -> tuple[dict[str, float], dict[str, float]]:
    """Numbers of the pods that are known in the last reading, and of those that were ill in all
    readings of the last ``confirm_seconds``.

    Both by name; pods that are gone or leaving are left out.  No more than that is looked at: an
    illness that spreads, or a pod that began meanwhile, would else never count.
    """
    if not run:
        return {}, {}
    lately = run[-1].at - timedelta(seconds=policy.confirm_seconds)
    names = {pod.name for pod in pods}
    known = {name: value for name, value in _known(policy, run[-1]).items() if name in names}
    always = set.intersection(*(sick_in(policy, each) for each in run if each.at >= lately))
    return known, {name: value for name, value in known.items() if name in always}


def sick_in(policy: Policy, reading: Reading) -> set[str]:
    """Names of the pods that are ill in one reading."""
    # First the cheap question, which mostly is the last: of a healthy fleet every look asks it of
    # every reading that is kept.
    if not any(policy.is_broken(value, None) for value in reading.by_pod.values()):
        return set()
    return {n for n, value in _known(policy, reading).items() if policy.is_broken(value, None)}


def the_outlier(
    sick: Mapping[str, float], known: Mapping[str, float], pods: Sequence[PodFact]
) -> PodFact | None:
    """The worst pod, if it is three times as ill as the others are."""
    if not sick:
        return None
    worst = max(sorted(sick), key=lambda name: sick[name])
    others = [value for name, value in known.items() if name != worst]
    if not others or sick[worst] < OUTLIER * median(others):
        return None
    return next((pod for pod in pods if pod.name == worst), None)


def _known(policy: Policy, reading: Reading) -> dict[str, float]:
    """Pods whose number means something."""
    even = policy.min_samples / max(len(reading.by_pod), 1)
    needed = max(even * LEAST_POD_SHARE, min(LEAST_POD_SAMPLES, policy.min_samples))
    return {
        name: value
        for name, value in reading.by_pod.items()
        if math.isfinite(value)
        and (not reading.samples_by_pod or reading.samples_by_pod.get(name, 0) >= needed)
    }
