"""The types of the fixtures that tests take; conftest.py makes them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from e2e.support.fleet import Fleet


class Serve(Protocol):
    """Applies a simulated service in the test's namespace and waits until all its pods are ready.

    ``wait=False`` is for services that are not meant to start.
    """

    def __call__(
        self,
        name: str = "chat",
        *,
        args: Sequence[str] = (),
        engine: Mapping[str, Any] | None = None,
        wait: bool = True,
        **spec: Any,
    ) -> Fleet: ...
