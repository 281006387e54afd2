"""One byte budget for everything that the sidecar holds on behalf of others.

Request bodies, replay logs and cached answers all come out of it, so that no mix of them can take
the process past its memory limit.  What can be had again gives way first: before a body is refused,
the cache and then the replay logs are asked to free.
"""

from __future__ import annotations

from collections.abc import Callable


class Budget:
    """``on_pressure``: asked in order, each with the bytes that are still missing; what they free
    they ``give`` back.  ``limit_bytes`` is never exceeded by ``take``."""

    __slots__ = ("limit_bytes", "on_pressure", "used_bytes")

    def __init__(self, limit_bytes: int) -> None:
        self.limit_bytes = limit_bytes
        self.used_bytes = 0
        self.on_pressure: list[Callable[[int], None]] = []

    def take(self, n_bytes: int) -> bool:
        """Whether ``n_bytes`` were taken, after others made room where they could."""
        if self.used_bytes + n_bytes > self.limit_bytes:
            for free in self.on_pressure:
                free(self.used_bytes + n_bytes - self.limit_bytes)
                if self.used_bytes + n_bytes <= self.limit_bytes:
                    break
            else:
                return False
        self.used_bytes += n_bytes
        return True

    def take_spare(self, n_bytes: int) -> bool:
        """For what can be done without (cache, replay): nobody makes room for it."""
        if self.used_bytes + n_bytes > self.limit_bytes:
            return False
        self.used_bytes += n_bytes
        return True

    def give(self, n_bytes: int) -> None:
        self.used_bytes -= n_bytes
