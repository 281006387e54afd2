"""The operator dies in the middle of a rollout; the next one finishes it."""

from __future__ import annotations

from e2e.support.fixtures import Serve
from e2e.support.fleet import Pod
from e2e.support.release import Release
from e2e.support.wait import NotYetError, until


def test_a_rollout_survives_its_operator(serve: Serve, release: Release) -> None:
    fleet = serve(replicas=3)
    arguments = fleet.object()["spec"]["engine"]["args"]

    fleet.patch_spec(engine={"args": [*arguments, "--max-num-seqs=32"]})

    def half_way() -> list[Pod]:
        pods = fleet.pods()
        if {pod.revision for pod in pods} != {1, 2}:
            raise NotYetError(f"revisions {sorted(pod.revision for pod in pods)}")
        return pods

    until("both revisions run", half_way, within_seconds=90, every_seconds=0.2)
    release.kill_operator()
    half_way()  # it was not over yet

    pods = fleet.wait_ready(3, within_seconds=150)
    assert {pod.revision for pod in pods} == {2}
    assert [one.restarts for one in pods] == [{"engine": 0, "sidecar": 0}] * 3
