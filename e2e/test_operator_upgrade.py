"""The operator is upgraded, and renders pods differently: running pods are left as they are."""

from __future__ import annotations

import pytest

from e2e.support.cluster import Cluster
from e2e.support.fixtures import Serve
from e2e.support.release import Release
from e2e.support.wait import NotYetError, holds, until

MARK = "e2e.batchfleet.io/rendered-by"


def test_an_upgrade_restarts_nothing(serve: Serve, release: Release, cluster: Cluster) -> None:
    fleet = serve(replicas=2)
    before = fleet.pods()
    old_operator = release.operator_uids()

    next_defaults = {"metadata": {"annotations": {MARK: "next"}}}
    with release.upgraded(cluster.images.next_operator, {"podTemplate": next_defaults}):
        assert release.operator_uids().isdisjoint(old_operator)
        # The new operator is at work on the old service, and still no pod changes.
        fleet.patch_spec(batching={"maxBatchSize": 9})

        def applied() -> None:
            if (limits := [fleet.state(pod)["limit"] for pod in before]) != [9, 9]:
                raise NotYetError(f"the limits are {limits}")

        until("the limit is 9 in both pods", applied, within_seconds=90)
        fleet.wait_for("Ready", within_seconds=60)

        def unchanged() -> None:
            if (now := fleet.pods()) != before:
                raise NotYetError(f"{now} in place of {before}")

        holds("the pods stay as they were", unchanged, for_seconds=5)
        assert len(fleet.kube.list("controllerrevisions", fleet.selector)) == 1

        # It does render differently: what is made new has the new default.
        fresh = serve("fresh")
        (pod,) = fresh.kube.list("pods", fresh.selector)
        assert pod["metadata"]["annotations"][MARK] == "next"

    with pytest.raises(KeyError):  # and what ran all the time does not
        _ = fleet.kube.list("pods", fleet.selector)[0]["metadata"]["annotations"][MARK]
