"""The node image for kind where `kindest/node` cannot be pulled: Debian, kind's files, programs.

The recipe is kind's own (`images/base/Dockerfile` of the kind module), with Debian's containerd
and CNI plugins in place of kind's builds, and the changes that a machine without CAP_SYS_RESOURCE
needs. kind's node files are copied from the Go module at build time.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from e2e.kind import binaries, cache, debian, image_archive, steps

_HERE = Path(__file__).parent
_SUITE = "bookworm"
_BOOTSTRAP_SECONDS = 900.0
_NODE_PACKAGES = (
    *("systemd", "systemd-sysv", "udev", "util-linux", "mount", "kmod", "procps"),
    *("containerd", "runc", "containernetworking-plugins"),
    *("conntrack", "iptables", "nftables", "ebtables", "iproute2", "ethtool", "socat"),
    *("ca-certificates", "curl", "jq"),
)
_PROGRAMS = (
    *("kube-apiserver", "kube-controller-manager", "kube-scheduler", "kube-proxy"),
    *("kubelet", "kubeadm", "kubectl", "etcd", "coredns", "pause"),
)
# As kind's Dockerfile does it: no unit may start that a container has no use for.
_TRIM = r"""
find "$1"/lib/systemd/system/sysinit.target.wants/ -name systemd-tmpfiles-setup.service -delete
rm -f "$1"/lib/systemd/system/multi-user.target.wants/* "$1"/etc/systemd/system/*.wants/*
rm -f "$1"/lib/systemd/system/local-fs.target.wants/* "$1"/lib/systemd/system/basic.target.wants/*
rm -f "$1"/lib/systemd/system/sockets.target.wants/*udev*
rm -f "$1"/lib/systemd/system/sockets.target.wants/*initctl*
echo ReadKMsg=no >> "$1"/etc/systemd/journald.conf
mkdir -p "$1"/etc/kubernetes/manifests
ln -sf ../../bin/containerd "$1"/usr/local/bin/containerd
chroot "$1" systemctl enable kubelet containerd undo-mount-hacks import-images
chroot "$1" systemctl mask systemd-binfmt.service
"""
# kind's files -> (what is there, what it becomes). If it is not there, kind has changed.
_CHANGES = {
    "etc/containerd/config.toml": (
        ("restrict_oom_score_adj = false", "restrict_oom_score_adj = true"),
        ("SystemdCgroup = true", "SystemdCgroup = false"),
        ('  base_runtime_spec = "/etc/containerd/cri-base.json"\n', ""),
        (
            '[plugins."io.containerd.grpc.v1.cri"]\n',
            '[plugins."io.containerd.grpc.v1.cri".cni]\n  bin_dir = "/usr/lib/cni"\n\n'
            '[plugins."io.containerd.grpc.v1.cri"]\n',
        ),
    ),
    "etc/systemd/system/containerd.service": (
        ("LimitNPROC=infinity\n", ""),
        ("LimitCORE=infinity\n", ""),
        ("LimitNOFILE=infinity\n", ""),
        ("OOMScoreAdjust=-999\n", ""),
    ),
}


def archive() -> tuple[str, Path]:
    """The image's name and the tar of its root file system, built if the cache has none."""
    programs = binaries.ensure(_PROGRAMS)
    key = cache.fingerprint(
        [
            *(program.parent.name for program in programs.values()),  # each ends in its fingerprint
            *(_HERE / name for name in ("node_image.py", "image_archive.py")),
            *sorted((_HERE / "node").iterdir()),
            binaries.version("sigs.k8s.io/kind"),
        ]
    )
    tar = cache.artefact(
        f"node-image-{key}", "build the node image", lambda target: _build(target, programs)
    )
    return f"batchfleet/node:{binaries.kubernetes_version()}-{key}", tar


def _build(target: Path, programs: dict[str, Path]) -> None:
    env = debian.environment("mmdebstrap")
    log = cache.log_file("node-image")
    with tempfile.TemporaryDirectory(dir=target.parent, prefix="node-image-stage-") as name:
        work = Path(name)
        stage = work / "stage"
        images = _image_names(programs["kubeadm"])
        _stage_kind_files(stage, pause_image=images["pause"])
        _stage_programs(stage, programs)
        (stage / "kind/images").mkdir()
        _write_images(stage / "kind/images", images, programs, _proxy_base(work, env, log))
        trim = work / "trim.sh"
        trim.write_text(f"#!/bin/sh\nset -eu\n{_TRIM}")
        trim.chmod(0o755)
        steps.run(
            [
                "mmdebstrap",
                "--variant=minbase",
                f"--include={','.join(_NODE_PACKAGES)}",
                f"--customize-hook=sync-in {stage} /",
                f"--customize-hook={trim}",
                "--format=tar",
                _SUITE,
                target,
            ],
            log=log,
            timeout_seconds=_BOOTSTRAP_SECONDS,
            env={**env, "TMPDIR": name},
        )


def _stage_kind_files(stage: Path, pause_image: str) -> None:
    files = binaries.module_folder("sigs.k8s.io/kind") / "images/base/files"
    for source in sorted(files.rglob("*")):
        inside = source.relative_to(files)
        if source.is_dir() or inside.parts[0] == "LICENSES":
            continue
        _put(source, stage / inside, executable="bin" in inside.parts)
    for inside_name, changes in _CHANGES.items():
        path = stage / inside_name
        text = path.read_text()
        for old, new in changes:
            if old not in text:
                raise steps.SetupError(f"kind's {inside_name} no longer says {old.strip()!r}")
            text = text.replace(old, new)
        path.write_text(text)
    config = stage / "etc/containerd/config.toml"
    lines = [
        f'  sandbox_image = "{pause_image}"' if "sandbox_image" in line else line
        for line in config.read_text().splitlines()
    ]
    config.write_text("\n".join(lines) + "\n")
    (stage / "kind/version").write_text(binaries.kubernetes_version())
    _put(_HERE / "node/10-bridge.conflist", stage / "etc/cni/net.d/10-bridge.conflist")
    unit = "import-images.service"
    _put(_HERE / "node" / unit, stage / "etc/systemd/system" / unit)


def _stage_programs(stage: Path, programs: dict[str, Path]) -> None:
    for name in ("kubeadm", "kubelet", "kubectl"):
        _put(programs[name], stage / "usr/bin" / name, executable=True)


def _put(source: Path, target: Path, executable: bool = False) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)
    target.chmod(0o755 if executable else 0o644)


def _image_names(kubeadm: Path) -> dict[str, str]:
    """The images that kubeadm will ask for, by the last part of their name."""
    wanted = f"--kubernetes-version={binaries.kubernetes_version()}"
    listed = steps.read([kubeadm, "config", "images", "list", wanted])
    if not listed:
        raise steps.SetupError("kubeadm cannot list its images")
    return {line.rpartition("/")[2].partition(":")[0]: line for line in listed.split()}


def _proxy_base(work: Path, env: dict[str, str], log: Path) -> Path:
    """A root file system with `nft`, which kube-proxy calls, and the libraries it needs."""
    target = work / "proxy-base.tar"
    steps.run(
        ["mmdebstrap", "--variant=extract", "--include=nftables,conntrack", _SUITE, target],
        log=log,
        timeout_seconds=_BOOTSTRAP_SECONDS,
        env={**env, "TMPDIR": str(work)},
    )
    return target


def _write_images(
    folder: Path, images: dict[str, str], programs: dict[str, Path], proxy_base: Path
) -> None:
    for name, tag in images.items():
        # Static pods call their program by name; pause and coredns are started by the image.
        inside = f"/{name}" if name in ("pause", "coredns") else f"/usr/local/bin/{name}"
        image_archive.write(
            folder / f"{name}.tar",
            tag,
            {inside: programs[name]},
            entrypoint=[inside],
            base_layer=proxy_base if name == "kube-proxy" else None,
        )
