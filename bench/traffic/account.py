"""The sidecar's own account of a run, held against what its clients saw."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from bench.traffic.ledger import Ledger
from bench.traffic.verdict import Outcome

SHOWN = (
    "requests_offered_total",
    "requests_admitted_total",
    "requests_merged_total",
    "requests_crossed_total",
    "cache_hits_total",
    "engine_calls_total",
    "engine_errors_total",
    "engine_restarts_total",
    "requests_refused_total",
    "clients_left_total",
    "fallthrough_total",
    "settings_errors_total",
)


@dataclass(frozen=True, slots=True)
class Account:
    """Two looks at the sidecar's metrics, before and after."""

    before: Mapping[str, float]
    after: Mapping[str, float]

    def grown(self, name: str) -> float:
        """By how much a counter grew, all its labels together."""
        return sum(grown for sample, grown in self._samples(name))

    def rows(self) -> list[tuple[str, int]]:
        """What there is to show, labels apart, without those that are 0."""
        return [
            (sample, int(grown)) for name in SHOWN for sample, grown in self._samples(name) if grown
        ]

    def differences(self, ledger: Ledger) -> list[str]:
        """Where sidecar and clients disagree by more than those who left can explain.

        Who left may have been answered, refused, or never read: the sidecar's counts lie between
        what the others were told and that plus those who left.
        """
        told, posts = ledger.outcomes, ledger.posts
        left = told[Outcome.LEFT]
        refused = told[Outcome.REFUSED] + told[Outcome.BROKEN_OFF]
        beside = refused - posts[Outcome.REFUSED] - posts[Outcome.BROKEN_OFF]
        answered = sum(
            posts[outcome]
            for outcome in (Outcome.COMPLETE, Outcome.OWN_ERROR, Outcome.ENGINE_ERROR)
        )
        offered = self.grown("requests_offered_total")
        counted_refused = self.grown("requests_refused_total")
        counted_left = self.grown("clients_left_total")
        counted_answered = offered - (counted_refused - beside) - counted_left
        found = []
        for what, counted, low in (
            ("answered", counted_answered, answered),
            ("refused", counted_refused, refused),
            ("left", counted_left, 0),
        ):
            if not low <= counted <= low + left:
                found.append(
                    f"{what}: the sidecar counts {counted:,.0f}, its clients {low:,}"
                    f" and {left:,} who left"
                )
        return found

    def _samples(self, name: str) -> list[tuple[str, float]]:
        return [
            (sample, value - self.before.get(sample, 0))
            for sample, value in self.after.items()
            if sample == name or sample.startswith(name + "{")
        ]
