"""What the sidecars say about themselves: ``GET /state`` at each pod's own address.

The only way to know that live settings have reached a process, and not just its file.  A pod
that has confirmed the settings it should have, and has its API keys, is not asked again, so a
settled fleet costs nothing; any other is asked each time its service is looked at.  So is a pod
that leaves, for as long as it may: what it says last is the account of its requests.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, Self

import aiohttp

from batchfleet_operator import names
from batchfleet_operator.decision import Object, WorkerState

logger = logging.getLogger(__name__)

ANSWER_SECONDS = 2.0
"""The sidecar answers in a millisecond; a pod that takes longer is not there."""

ASKED_AT_ONCE = 64


class Workers:
    """Asks sidecars, and remembers those that have confirmed.  ``now`` is UTC."""

    def __init__(
        self, port: int = names.PORT_ADMIN, now: Callable[[], datetime] = lambda: datetime.now(UTC)
    ) -> None:
        self._port = port
        self._now = now
        self._confirmed: dict[str, WorkerState] = {}  # by pod UID
        self._session = aiohttp.ClientSession(
            timeout=aiohttp.ClientTimeout(total=ANSWER_SECONDS),
            connector=aiohttp.TCPConnector(limit=ASKED_AT_ONCE, force_close=True),
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._session.close()

    async def states(
        self,
        pods: Iterable[Object],
        wanted: Mapping[str, str],
        *,
        afresh: bool = False,
    ) -> dict[str, WorkerState]:
        """The states of the pods that answer, by UID.

        ``wanted``: by revision (the pods' label), the hash of the settings that it should run.
        ``afresh``: ask pods that have confirmed too; how loaded they are changes all the time.
        """
        found: dict[str, WorkerState] = {}
        asked: list[Object] = []
        for pod in pods:
            uid = pod["metadata"]["uid"]
            settings = wanted.get(pod["metadata"]["labels"].get(names.LABEL_REVISION, ""))
            confirmed = None if afresh or _leaves(pod) else self._confirmed.get(uid)
            if confirmed and confirmed.settings_hash == settings and not confirmed.access_error:
                found[uid] = confirmed
            elif _can_answer(pod, self._now()):
                asked.append(pod)
        for pod, state in zip(asked, await asyncio.gather(*map(self._ask, asked)), strict=True):
            if state is not None:
                found[pod["metadata"]["uid"]] = state
        self._confirmed |= found
        return found

    def forget(self, uids: Iterable[str]) -> None:
        """Pods that are gone."""
        for uid in uids:
            self._confirmed.pop(uid, None)

    async def _ask(self, pod: Object) -> WorkerState | None:
        address = pod["status"]["podIP"]
        host = f"[{address}]" if ":" in address else address
        try:
            async with self._session.get(f"http://{host}:{self._port}/state") as answer:
                answer.raise_for_status()
                return _state(await answer.json())
        except (aiohttp.ClientError, TimeoutError, ValueError, KeyError, TypeError) as error:
            metadata = pod["metadata"]
            logger.debug("%s/%s: no state: %r", metadata["namespace"], metadata["name"], error)
            return None


def wanted_settings(objects: Iterable[Object]) -> dict[str, str]:
    """By revision, the hash of its live settings as they are in the cluster now."""
    wanted = {}
    for object_ in objects:
        text = object_.get("data", {}).get(names.LIVE_SETTINGS_KEY)
        if object_["kind"] == names.CONFIG_MAP.kind and text is not None:
            revision = object_["metadata"]["labels"].get(names.LABEL_REVISION, "")
            wanted[revision] = hashlib.sha256(text.encode()).hexdigest()[:16]
    return wanted


def _leaves(pod: Object) -> bool:
    return "deletionTimestamp" in pod["metadata"]


def _can_answer(pod: Object, now: datetime) -> bool:
    """Whether the pod's sidecar has been started, and its time is not over."""
    if not pod.get("status", {}).get("podIP"):
        return False
    if _leaves(pod) and now > datetime.fromisoformat(pod["metadata"]["deletionTimestamp"]):
        return False  # its node is gone, or it would be; that time includes its grace
    return any(
        container["name"] == names.SIDECAR and container.get("started")
        for container in pod["status"].get("initContainerStatuses", ())
    )


def _state(answer: Mapping[str, Any]) -> WorkerState:
    settings, drain = answer["settings"], answer.get("drain", {})
    return WorkerState(
        settings_hash=settings["hash"],
        settings_error=settings["error"],
        draining=answer["draining"],
        in_flight=answer["inFlight"],
        access_error=answer.get("access", {}).get("error"),
        drained=drain.get("drained", 0),
        handed_back=drain.get("handedBack", 0),
        aborted=drain.get("aborted", 0),
    )
