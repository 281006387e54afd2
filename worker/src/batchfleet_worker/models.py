"""Ceilings of their own for some of the models that one engine serves (batching.modelLimits).

``Admission`` takes a flight whose model is at its ceiling out of the line, so that it blocks nobody
behind it, and puts it back, with its time of arrival, when one of that model is over.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from batchfleet_worker.fairness import Accounts
from batchfleet_worker.flight import Flight
from batchfleet_worker.live import ModelLimit
from batchfleet_worker.queue import Line


class _Ceiling:
    __slots__ = ("in_flight", "most", "parked")

    def __init__(self, most: int, accounts: Accounts) -> None:
        self.most = most
        self.in_flight = 0
        self.parked: Line[Flight] = Line(accounts)

    def fits(self, weight: int) -> bool:
        return self.in_flight + weight <= self.most or not self.in_flight


class Models:
    """Models without a limit of their own are none of its business."""

    def __init__(self, limits: Iterable[ModelLimit], accounts: Accounts) -> None:
        self._models = {limit.model: _Ceiling(limit.max_batch_size, accounts) for limit in limits}

    def __bool__(self) -> bool:
        return bool(self._models)

    def fits(self, model: str, weight: int) -> bool:
        known = self._models.get(model)
        return known is None or known.fits(weight)

    def park(self, flight: Flight, now: float) -> None:
        self._models[flight.request.model].parked.push(flight, now)

    def changed(self, limits: Iterable[ModelLimit], accounts: Accounts) -> Models:
        """With other limits, what is under way counted on; who is parked here is not taken over."""
        models = Models(limits, accounts)
        for name, model in models._models.items():
            if name in self._models:
                model.in_flight = self._models[name].in_flight
        return models

    def line_of(self, flight: Flight) -> Line[Flight]:
        """Where it is parked; KeyError when it is not."""
        return self._models[flight.request.model].parked

    def sent(self, flight: Flight) -> None:
        known = self._models.get(flight.request.model)
        if known is not None:
            known.in_flight += flight.weight

    def over(self, flight: Flight) -> list[Flight]:
        """Those who may now go back into the line: they are taken out of here."""
        known = self._models.get(flight.request.model)
        if known is None:
            return []
        # One that was sent before the limit was set was never counted.
        known.in_flight = max(0, known.in_flight - flight.weight)
        freed: list[Flight] = []
        room = known.most - known.in_flight
        while known.parked:
            head = known.parked.head()
            if head.weight > room and (freed or known.in_flight):
                break
            known.parked.remove(head)
            freed.append(head)
            room -= head.weight
        return freed

    def parked(self) -> Iterator[Flight]:
        for model in self._models.values():
            yield from model.parked
