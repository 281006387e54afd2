"""How many slots there are, and for whom.

``Admission`` holds one and asks it for every call; the limit in it is the ceiling of the live
settings, or what ``adaptive`` found below that.

    0 ────────────── batch ─────── ordinary ───── limit
      any priority   │ priority ≥ 0 │ priority > 0 (reserved)
"""

from __future__ import annotations

import math
from dataclasses import dataclass

BATCH_SHARE = 0.75
"""Of the limit, up to which batch traffic fills: the rest is free when an interactive request
comes, which would otherwise wait for a batch call to end."""


@dataclass(frozen=True, slots=True)
class Slots:
    """``limit`` inf: none is set, and everybody may be sent at once."""

    limit: float = math.inf
    ordinary: float = math.inf
    batch: float = math.inf

    @classmethod
    def of(cls, limit: int | None, reserved_percent: int = 0) -> Slots:
        if limit is None:
            return cls()
        ordinary = max(1, limit - limit * reserved_percent // 100)
        return cls(limit, ordinary, max(1, min(ordinary, int(limit * BATCH_SHARE))))

    def up_to(self, priority: int) -> float:
        """Slots in use, its own included, up to which a call of this priority may be sent."""
        if priority > 0:
            return self.limit
        return self.ordinary if priority == 0 else self.batch
