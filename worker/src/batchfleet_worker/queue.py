"""The waiting line for the engine: bounded, first in first out, removal from anywhere in O(1).

``Pipeline`` puts flights here that found no free slot, takes them out when one falls free, and
removes those whose last client left.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable, Iterator
from typing import Generic, TypeVar

T = TypeVar("T", bound=Hashable)


class Queue(Generic[T]):
    """``bound`` may change at any time; what is already in stays in."""

    __slots__ = ("_entries", "bound")

    def __init__(self, bound: int) -> None:
        self.bound = bound
        # Not a plain dict: taking the head off one, over and over, walks its deleted entries.
        self._entries: OrderedDict[T, float] = OrderedDict()

    def __len__(self) -> int:
        return len(self._entries)

    def __iter__(self) -> Iterator[T]:
        """A snapshot, longest waiting first."""
        return iter(tuple(self._entries))

    def full(self) -> bool:
        return len(self._entries) >= self.bound

    def push(self, item: T, now: float) -> None:
        """Without a look at the bound: whoever was admitted once is not refused later."""
        self._entries[item] = now

    def pop(self) -> T:
        """The longest waiting; KeyError when empty."""
        return self._entries.popitem(last=False)[0]

    def remove(self, item: T) -> None:
        del self._entries[item]

    def oldest_at(self) -> float:
        """When the longest waiting came; StopIteration when empty."""
        return next(iter(self._entries.values()))
