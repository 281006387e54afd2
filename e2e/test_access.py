"""API keys: none, no answer; a changed Secret is taken up without a restart.  Rates: 429."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from e2e.support.fixtures import Serve
from e2e.support.kube import Kube, Object
from e2e.support.load import Answer, Load, ask
from e2e.support.services import MODEL
from e2e.support.wait import NotYetError, until

SECRET = "chat-keys"
TAKEN_UP_WITHIN_SECONDS = 150.0


def secret(**keys: str) -> Object:
    """One entry per tenant."""
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": SECRET},
        "stringData": keys,
    }


def bearer(key: str) -> Mapping[str, str]:
    return {"authorization": f"Bearer {key}"}


def once(clients: Kube, url: str, headers: Mapping[str, str]) -> Answer:
    load = Load(url, MODEL, 1, unique=True, max_tokens=2, headers=headers)
    (answer,) = ask(clients, load).answers
    return answer


def test_callers_need_a_key_and_a_changed_secret_is_read_again(
    serve: Serve, clients: Kube, kube: Kube
) -> None:
    kube.apply(secret(alice="key-of-alice priority=10\n"))
    fleet = serve(access={"type": "APIKeys", "apiKeys": {"secretName": SECRET}})
    before = fleet.pods()

    stranger = once(clients, fleet.url, {})
    assert (stranger.status, stranger.outcome) == (401, "refused")
    assert "invalid_api_key" in stranger.why
    assert once(clients, fleet.url, bearer("key-of-bob")).status == 401
    assert once(clients, fleet.url, bearer("key-of-alice")).status == 200

    kube.apply(secret(alice="another-key\n", bob="key-of-bob\n"))

    def look() -> None:
        fleet.wake_kubelet()
        statuses = {
            key: once(clients, fleet.url, bearer(key)).status
            for key in ("key-of-alice", "another-key", "key-of-bob")
        }
        if statuses != {"key-of-alice": 401, "another-key": 200, "key-of-bob": 200}:
            raise NotYetError(f"{statuses}")

    until("the new keys count", look, within_seconds=TAKEN_UP_WITHIN_SECONDS)
    assert fleet.pods() == before  # the same UIDs, and no container restarted


def test_a_missing_secret_lets_nobody_in_and_is_told(
    serve: Serve, clients: Kube, kube: Kube
) -> None:
    access = {"type": "APIKeys", "apiKeys": {"secretName": SECRET}}
    fleet = serve(access=access, wait=False)
    fleet.wait_for("Ready", "False", within_seconds=150, saying=["APIKeysUnusable", SECRET])
    assert once(clients, fleet.url, bearer("key-of-alice")).status == 401

    kube.apply(secret(alice="key-of-alice\n"))
    fleet.wake_kubelet()
    fleet.wait_for("Ready", within_seconds=TAKEN_UP_WITHIN_SECONDS + 30)
    assert once(clients, fleet.url, bearer("key-of-alice")).status == 200


def test_more_than_a_tenants_rate_is_refused_and_others_are_not(
    serve: Serve, clients: Kube, kube: Kube
) -> None:
    kube.apply(secret(alice="key-of-alice\n", bob="key-of-bob\n"))
    fleet = serve(
        access={"type": "APIKeys", "apiKeys": {"secretName": SECRET}},
        requests={
            "timeoutSeconds": 30,
            "rateLimits": [{"scope": "Tenant", "tenant": "alice", "requestsPerMinute": 6}],
        },
    )
    burst = Load(fleet.url, MODEL, 1, requests=20, unique=True, max_tokens=1)

    hasty = ask(clients, replace(burst, headers=bearer("key-of-alice"))).answers
    statuses = [one.status for one in hasty]
    assert set(statuses) == {200, 429}, [one.why for one in hasty]
    assert statuses.count(429) >= 10
    refused = next(one for one in hasty if one.status == 429)
    assert "rate_limited" in refused.why
    assert int(refused.headers["retry-after"]) >= 1
    assert refused.headers["x-batchfleet-reason"] == "rate-limited"

    calm = ask(clients, replace(burst, headers=bearer("key-of-bob")))
    assert calm.failures == []
