"""Which Prometheus is asked about which service: the operator's own, or one that a service names.

Made by ``process``, used by ``sampler``.  The two never share anything: a service's own gets the
credentials of the Secret that the service names, or none, and its answers come through other
threads, so that one that hangs keeps nobody else waiting.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from batchfleet_operator.api.service import PrometheusSource
from batchfleet_operator.config import PrometheusConfig
from batchfleet_operator.decision import Object
from batchfleet_operator.errors import ClusterError, NoAnswerError
from batchfleet_operator.metering import credentials
from batchfleet_operator.metering.credentials import Credentials, Directory
from batchfleet_operator.metering.prometheus import (
    OWN_MOST_BYTES,
    THEIRS_MOST_BYTES,
    Prometheus,
    Server,
)

OWN_THREADS = 4
THEIR_THREADS = 8
SECRET_SECONDS = 60.0
"""For how long a Secret that was read is believed."""

ReadSecret = Callable[[str, str], Awaitable[Object]]
"""The Secret of a namespace and name; may raise :class:`ClusterError`."""


class Sources:
    """All connections of this process."""

    def __init__(self, config: PrometheusConfig, read_secret: ReadSecret) -> None:
        self._config = config
        self._read_secret = read_secret
        self._own_threads = ThreadPoolExecutor(OWN_THREADS, "prometheus")
        self._their_threads = ThreadPoolExecutor(THEIR_THREADS, "services-prometheus")

    def own(self) -> Prometheus | None:
        """The operator's; ``None``: the configuration names none."""
        config = self._config
        if config.url is None:
            return None
        directory = config.credentials_directory
        who = _Mounted(None if directory is None else Directory(Path(directory)))
        return Prometheus(self._server(config.url, OWN_MOST_BYTES), who.read, self._own_threads)

    def of_service(self, namespace: str, source: PrometheusSource) -> Prometheus:
        """One that the services of a namespace name."""
        who = _Secret(self._read_secret, namespace, source.credentials_secret_name)
        serve = self._server(source.url, THEIRS_MOST_BYTES)
        return Prometheus(serve, who.read, self._their_threads)

    def close(self) -> None:
        for threads in (self._own_threads, self._their_threads):
            threads.shutdown(wait=False, cancel_futures=True)

    def _server(self, url: str, most_bytes: int) -> Callable[[Credentials], Server]:
        return partial(
            Server,
            url,
            timeout_seconds=self._config.timeout_seconds,
            max_age_seconds=self._config.max_age_seconds,
            most_bytes=most_bytes,
        )


class _Mounted:
    def __init__(self, directory: Directory | None) -> None:
        self._directory = directory

    async def read(self) -> Credentials:
        if self._directory is None:
            return Credentials()
        return await asyncio.to_thread(self._directory.read)


class _Secret:
    """Read again after a while, so that a changed one is taken up."""

    def __init__(self, read_secret: ReadSecret, namespace: str, name: str | None) -> None:
        self._read_secret = read_secret
        self._namespace = namespace
        self._name = name
        self._until = -1.0
        self._last = Credentials()
        self._reading = asyncio.Lock()

    async def read(self) -> Credentials:
        if self._name is None:
            return Credentials()
        async with self._reading:
            now = asyncio.get_running_loop().time()
            if now >= self._until:
                try:
                    secret = await self._read_secret(self._namespace, self._name)
                except ClusterError as error:
                    raise NoAnswerError(f"cannot read Secret {self._name}: {error}") from error
                self._last = credentials.of_secret(secret)
                self._until = now + SECRET_SECONDS
            return self._last
