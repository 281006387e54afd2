"""Debian's packages, unpacked into the cache: commands that this machine lacks, none installed.

The private Docker engine and the node image need a few of Debian's programs. Unpacking them beside
our own leaves the machine as it was: no service starts, no existing `docker` is replaced, and
deleting the cache takes them away again.
"""

from __future__ import annotations

import functools
import os
import shutil
from pathlib import Path

from e2e.kind import cache, steps

_PACKAGES = {
    "buildah": "buildah",
    "docker": "docker.io",
    "dockerd": "docker.io",
    "ip": "iproute2",
    "iptables": "iptables",
    "mmdebstrap": "mmdebstrap",
    "nft": "nftables",
    "runc": "runc",
}
# Names under which the packages' own scripts would link a program when they are installed.
_ALTERNATIVES = {
    f"{family}{verb}": "xtables-nft-multi"
    for family in ("iptables", "ip6tables")
    for verb in ("", "-save", "-restore")
}
_TIMEOUT_SECONDS = 600.0


@functools.cache
def environment(*commands: str) -> dict[str, str]:
    """Environment variables with which `commands` run; empty where the machine has them all.

    Raises SetupError, with the sentence that says what to install, where they cannot be had.
    """
    search_path = os.environ["PATH"] + ":/usr/sbin:/sbin"
    missing = [name for name in commands if not shutil.which(name, path=search_path)]
    if not missing:
        return {"PATH": search_path}
    packages = sorted({_PACKAGES[name] for name in missing})
    if not shutil.which("apt-get") or os.geteuid() != 0:
        raise steps.SetupError(
            f"{', '.join(missing)} missing. As root on Debian or Ubuntu they are fetched for you;"
            f" else: sudo apt-get install {' '.join(packages)}, or start a Docker engine."
        )
    name = f"debian/{'-'.join(packages)}-{cache.fingerprint(_ALTERNATIVES)}"
    root = cache.folder() / name
    if not root.exists():
        title = f"unpack Debian's {' '.join(packages)}"
        cache.artefact(name, title, lambda target: _unpack(packages, target))
    programs = [str(root / folder) for folder in ("usr/local/bin", "usr/sbin", "usr/bin", "sbin")]
    libraries = [str(path) for path in sorted({p.parent for p in root.rglob("*.so*")})]
    found = {"PATH": ":".join([search_path, *programs])}
    if libraries:
        found["LD_LIBRARY_PATH"] = ":".join(libraries)
    for extensions in root.glob("usr/lib/*/xtables"):
        found["XTABLES_LIBDIR"] = str(extensions)
    return found


def _unpack(packages: list[str], target: Path) -> None:
    """Fetch `packages` and whatever they need that is not installed, and unpack it all."""
    log = cache.log_file("debian")
    archives = target / "archives"
    (archives / "partial").mkdir(parents=True)
    options = [
        "--download-only",
        "--no-install-recommends",
        f"-oDir::Cache::archives={archives}",
        "-oAPT::Sandbox::User=root",  # apt's own user may not enter the cache folder
        "-oDPkg::Lock::Timeout=120",
    ]
    steps.run(["apt-get", "-q", "update"], log=log, timeout_seconds=_TIMEOUT_SECONDS)
    steps.run(
        ["apt-get", "-qy", *options, "install", *packages],
        log=log,
        timeout_seconds=_TIMEOUT_SECONDS,
        env={"DEBIAN_FRONTEND": "noninteractive"},
    )
    for package in sorted(archives.glob("*.deb")):
        steps.run(["dpkg-deb", "-x", package, target], log=log, timeout_seconds=60)
    shutil.rmtree(archives)
    for alternative, program in _ALTERNATIVES.items():
        if (target / "usr/sbin" / program).exists():
            (target / "usr/sbin" / alternative).symlink_to(program)
