"""A real control plane without containers or root: kube-apiserver, etcd, controllers, KWOK's nodes.

For contract tests and the scale test: ready in seconds, private, and gone when the `with` block
ends. Nodes and pods are simulated by KWOK: a pod that is scheduled to a KWOK node becomes Ready
without running anything.

    with ControlPlane() as control_plane:
        subprocess.run(["kubectl", "--kubeconfig", control_plane.kubeconfig, "get", "nodes"])
"""

from __future__ import annotations

import os
import shutil
import uuid
from pathlib import Path
from types import TracebackType

from e2e.kind import binaries, cache, steps

_PROGRAMS = {
    "--kube-apiserver-binary": "kube-apiserver",
    "--kube-controller-manager-binary": "kube-controller-manager",
    "--kube-scheduler-binary": "kube-scheduler",
    "--etcd-binary": "etcd",
    "--kwok-controller-binary": "kwok",
}
_TIMEOUT_SECONDS = 300.0


class ControlPlane:
    """A control plane for the time of a `with` block; `kubeconfig` is valid inside it.

    One that a killed process left behind is swept when the next one starts.
    """

    def __init__(self, name: str | None = None, extra_args: tuple[str, ...] = ()) -> None:
        """`extra_args` go to `kwokctl create cluster`; an unnamed one gets a name of its own."""
        self.name = name or f"bf-{os.getpid()}-{uuid.uuid4().hex[:6]}"
        self.kubeconfig = _folder() / self.name / "kubeconfig"
        self._extra_args = extra_args

    def __enter__(self) -> ControlPlane:
        self.up(owner_pid=os.getpid())
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.down()

    def up(self, owner_pid: int | None = None) -> Path:
        """Start it, unless it is up, and return its kubeconfig.

        It is swept once `owner_pid` has ended; without an owner it stays until `down`.
        """
        if self.kubeconfig.exists():
            steps.say(f"control plane {self.name} is up (cached)")
            return self.kubeconfig
        with cache.lock("control-plane"):
            _sweep()
            self.down()  # the rest of one that was killed while it came up
        binaries.ensure([*_PROGRAMS.values(), "kwokctl", "kubectl"])
        given = [word for flag, name in _PROGRAMS.items() for word in (flag, binaries.path(name))]
        work = self.kubeconfig.parent
        work.mkdir(parents=True)
        if owner_pid is not None:
            (work / "owner").write_text(str(owner_pid))
        try:
            # kwokctl looks for free ports from the same number on: two at once would find the same.
            with cache.lock("control-plane"), steps.step(f"start control plane {self.name}"):
                self._kwokctl(
                    *("create", "cluster", "--runtime", "binary", *given),
                    *("--kubeconfig", self.kubeconfig, "--wait", "180s", "--quiet-pull"),
                    *self._extra_args,
                )
        except BaseException:
            self.down()
            raise
        return self.kubeconfig

    def down(self) -> None:
        """Stop its processes and remove its files. Twice is harmless."""
        if self.kubeconfig.parent.exists():
            self._kwokctl("delete", "cluster", "--kubeconfig", self.kubeconfig)
            shutil.rmtree(self.kubeconfig.parent)

    def _kwokctl(self, *arguments: str | Path) -> None:
        steps.run(
            [binaries.path("kwokctl"), "--name", self.name, *arguments],
            log=cache.log_file("control-plane"),
            timeout_seconds=_TIMEOUT_SECONDS,
            env={
                "KWOK_WORKDIR": str(self.kubeconfig.parent / "kwok"),
                "PATH": binaries.search_path(["kubectl"]),  # kwokctl calls it by name
            },
        )


def _folder() -> Path:
    return cache.folder() / "control-planes"


def _sweep() -> None:
    """Take down control planes whose owner has died."""
    for owner in _folder().glob("*/owner"):
        if not Path(f"/proc/{owner.read_text()}").exists():
            ControlPlane(owner.parent.name).down()
