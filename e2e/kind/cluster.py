"""A one-node kind cluster: up, down, images in, and where its kubeconfig lies.

Above `engine` (where the node's container runs) and `node_image` (what runs in it). `up` leaves
either a working cluster or nothing.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Sequence
from pathlib import Path

from e2e.kind import binaries, cache, engine, node_image, steps

DEFAULT_NAME = "batchfleet"
_CREATE_SECONDS = 600.0
_DNS_SECONDS = 300.0
_DELETE_SECONDS = 300.0
_LOAD_SECONDS = 600.0
_PULL_SECONDS = 600.0


def run_folder(name: str) -> Path:
    """What belongs to the running cluster `name`; gone after `down`. Raises SetupError."""
    if not re.fullmatch(r"[a-z0-9][a-z0-9-]{0,40}", name):  # it becomes a node's name
        raise steps.SetupError(f"{name!r} is no name for a cluster: a-z, 0-9 and - only")
    return cache.folder() / "run" / name


def kubeconfig(name: str = DEFAULT_NAME) -> Path:
    """The kubeconfig of the cluster `name`, whether it is up or not."""
    return run_folder(name) / "kubeconfig"


def up(name: str = DEFAULT_NAME, kubeconfig_copy: Path | None = None) -> Path:
    """Bring the cluster up, unless it is, and return its kubeconfig. Raises SetupError.

    A second call finds the first one's cluster. Interrupted or failed, it leaves nothing.
    """
    try:
        with engine.in_use() as docker, cache.lock(f"cluster-{name}"):
            binaries.ensure(["kubectl", "kind"])
            if _is_ready(name):
                steps.say(f"cluster {name} is up (cached)")
            else:
                _create(name, docker)
    except BaseException:
        engine.release()
        raise
    if kubeconfig_copy is not None:
        shutil.copy(kubeconfig(name), kubeconfig_copy)
    return kubeconfig(name)


def down(name: str = DEFAULT_NAME) -> None:
    """Take the cluster away, and the private engine with the last one. Twice is harmless."""
    with cache.lock(f"cluster-{name}"):
        _delete(name, engine.find())
    engine.release()


def load(archives: Sequence[Path], name: str = DEFAULT_NAME) -> None:
    """Import image archives (as `docker save` writes them) into the node. Raises SetupError."""
    docker = _engine_of(name)
    for archive in archives:
        with steps.step(f"load {archive.name}"):
            _kind(
                "load",
                "image-archive",
                archive,
                "--name",
                name,
                docker=docker,
                timeout_seconds=_LOAD_SECONDS,
            )


def status(name: str = DEFAULT_NAME) -> str:
    """One line: what runs, or that nothing does."""
    docker = engine.find()
    if docker is None or not _exists(name, docker):
        return f"cluster {name} is down"
    where = "a private Docker engine" if docker.private else "the machine's Docker engine"
    state = "ready" if _is_ready(name) else "not ready"
    return f"cluster {name} is {state}, in {where}; KUBECONFIG={kubeconfig(name)}"


def _engine_of(name: str) -> engine.Engine:
    docker = engine.find()
    if docker is None or not _exists(name, docker):
        raise steps.SetupError(f"cluster {name} is down; `python3 -m e2e.kind up` starts it")
    return docker


def _create(name: str, docker: engine.Engine) -> None:
    image, own = _image(docker)
    _delete(name, docker)  # the rest of one that was killed while it came up
    try:
        _create_from(image, own, name, docker)
    except BaseException:
        _delete(name, docker)
        raise


def _create_from(image: str, own: bool, name: str, docker: engine.Engine) -> None:
    run_folder(name).mkdir(parents=True, exist_ok=True)
    config = run_folder(name) / "kind.json"
    config.write_text(json.dumps(_config(own_image=own)))  # JSON is YAML
    with steps.step(f"create cluster {name}"):
        _kind(
            "create",
            "cluster",
            "--name",
            name,
            "--image",
            image,
            "--config",
            config,
            "--kubeconfig",
            kubeconfig(name),
            "--wait",
            "240s",
            docker=docker,
            timeout_seconds=_CREATE_SECONDS,
        )
        steps.run(
            _kubectl(name, "-n=kube-system", "rollout", "status", "deployment/coredns"),
            log=cache.log_file("kind"),
            timeout_seconds=_DNS_SECONDS,
        )


def _delete(name: str, docker: engine.Engine | None) -> None:
    if docker is not None and _exists(name, docker):
        with steps.step(f"delete cluster {name}"):
            # kind would otherwise tidy the user's own ~/.kube/config.
            _kind(
                "delete",
                "cluster",
                "--name",
                name,
                "--kubeconfig",
                kubeconfig(name),
                docker=docker,
                timeout_seconds=_DELETE_SECONDS,
            )
    shutil.rmtree(run_folder(name), ignore_errors=True)


def _image(docker: engine.Engine) -> tuple[str, bool]:
    """The node image's name, and whether it is of our own making."""
    official = f"kindest/node:{binaries.kubernetes_version()}"
    if docker.read("image", "inspect", official) is not None:
        return official, False
    if not docker.private:
        try:
            with steps.step(f"pull {official}"):
                docker.run("pull", official, timeout_seconds=_PULL_SECONDS)
            return official, False
        except steps.CommandError:
            steps.say(f"{official} cannot be pulled: building one")
    name, tar = node_image.archive()
    if docker.read("image", "inspect", name) is None:
        with steps.step("import the node image"):
            docker.run(
                "import",
                *("--change", "ENV container=docker"),
                *("--change", 'ENTRYPOINT ["/usr/local/bin/entrypoint", "/sbin/init"]'),
                tar,
                name,
            )
    return name, True


def _config(own_image: bool) -> dict[str, object]:
    """kind's configuration; its own thresholds keep the kubelet from deleting images."""
    patches = []
    if own_image:
        # Our containerd makes cgroups itself, not through systemd; the two must agree.
        patches.append("kind: KubeletConfiguration\ncgroupDriver: cgroupfs\n")
    return {
        "kind": "Cluster",
        "apiVersion": "kind.x-k8s.io/v1alpha4",
        # kind's own CNI is an image of the official node image only; ours has a bridge instead.
        "networking": {"kubeProxyMode": "nftables", "disableDefaultCNI": own_image},
        "nodes": [{"role": "control-plane"}],
        "kubeadmConfigPatches": patches,
    }


def _exists(name: str, docker: engine.Engine) -> bool:
    label = f"label=io.x-k8s.kind.cluster={name}"
    return bool(docker.read("ps", "-aq", "--filter", label))


def _is_ready(name: str) -> bool:
    if not kubeconfig(name).exists():
        return False
    nodes = steps.read(_kubectl(name, "get", "nodes", "-ojson", "--request-timeout=5s"))
    items = json.loads(nodes)["items"] if nodes else []
    conditions = [condition for node in items for condition in node["status"]["conditions"]]
    return any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)


def _kubectl(name: str, *arguments: str) -> list[str | Path]:
    own_cache = f"--cache-dir={run_folder(name) / 'kubectl'}"  # in place of ~/.kube
    return [binaries.path("kubectl"), f"--kubeconfig={kubeconfig(name)}", own_cache, *arguments]


def _kind(*arguments: str | Path, docker: engine.Engine, timeout_seconds: float) -> None:
    steps.run(
        [binaries.path("kind"), *arguments],
        log=cache.log_file("kind"),
        timeout_seconds=timeout_seconds,
        env={**docker.env, "KIND_EXPERIMENTAL_DOCKER_NETWORK": engine.NETWORK},
    )
