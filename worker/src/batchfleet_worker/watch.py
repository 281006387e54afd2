"""The file of live settings, looked at every POLL_SECONDS.

In a pod it is a mounted ConfigMap: the kubelet swaps a symlink, so a change is whole.  Anyone else
may be seen half-way through writing: what does not parse changes nothing, and the next look at the
finished file does.  The file is small, so the bytes are compared, not times or inodes.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

from batchfleet_worker import live
from batchfleet_worker.live import LiveSettings
from batchfleet_worker.metrics import Metrics

POLL_SECONDS = 0.25
MAX_BYTES = 65536

log = logging.getLogger(__name__)


class LiveFile:
    """The last good settings of a file, their hash, and what is wrong with a newer one."""

    def __init__(self, path: Path, apply: Callable[[LiveSettings], None], metrics: Metrics) -> None:
        self.hash: str | None = None
        self.error: str | None = None
        self._path = path
        self._apply = apply
        self._metrics = metrics
        self._seen: bytes | None = None

    def poll(self) -> None:
        try:
            with self._path.open("rb") as file:
                data = file.read(MAX_BYTES + 1)
        except OSError as error:
            self._fault(f"{self._path}: {error.strerror}")
            self._seen = None
            return
        if data == self._seen:
            return
        self._seen = data
        if len(data) > MAX_BYTES:
            self._fault(f"larger than {MAX_BYTES} bytes")
            return
        parsed = live.parse(data)
        if isinstance(parsed, str):
            self._fault(parsed)
            return
        self._apply(parsed)
        self.hash, self.error = live.hash_of(data), None
        self._metrics.set_settings_hash(self.hash)
        log.info("live settings %s apply", self.hash)

    def _fault(self, error: str) -> None:
        if error == self.error:
            return
        self.error = error
        self._metrics.settings_errors_total += 1
        log.warning("live settings refused, the last good ones stay: %s", error)
