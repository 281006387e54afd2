"""Container images from files, as the archive that `docker save` writes and `ctr import` reads.

For images that hold one static program, so that they need neither a builder nor a registry.
"""

from __future__ import annotations

import hashlib
import io
import json
import platform
import shutil
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path

ARCHITECTURE = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
_DIRECTORIES_MODE = 0o755


def write(
    target: Path,
    tag: str,
    programs: Mapping[str, Path],
    *,
    entrypoint: Sequence[str],
    base_layer: Path | None = None,
    user: str = "",
) -> None:
    """Write to `target` the image `tag`: `programs` (path in the image -> file) on `base_layer`.

    `base_layer` is an uncompressed tar of a root file system; none means an empty image.
    """
    work = target.with_suffix(".layers")
    work.mkdir()
    layers = []
    if base_layer is not None:
        shutil.copy(base_layer, work / "base.tar")
        layers.append(work / "base.tar")
    _write_layer(work / "programs.tar", programs)
    layers.append(work / "programs.tar")
    config = {
        "architecture": ARCHITECTURE,
        "os": "linux",
        "config": {
            "Entrypoint": list(entrypoint),
            "Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"],
            "User": user,
        },
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{_digest(layer)}" for layer in layers]},
    }
    manifest = [
        {"Config": "config.json", "RepoTags": [tag], "Layers": [layer.name for layer in layers]}
    ]
    with tarfile.open(target, "w") as archive:
        for name, value in (("manifest.json", manifest), ("config.json", config)):
            _add_bytes(archive, name, json.dumps(value).encode())
        for layer in layers:
            archive.add(layer, arcname=layer.name)
    shutil.rmtree(work)


def _write_layer(target: Path, programs: Mapping[str, Path]) -> None:
    with tarfile.open(target, "w") as layer:
        for directory in sorted({parent for name in programs for parent in _parents(name)}):
            entry = tarfile.TarInfo(directory)
            entry.type = tarfile.DIRTYPE
            entry.mode = _DIRECTORIES_MODE
            layer.addfile(entry)
        for name, source in programs.items():
            entry = tarfile.TarInfo(name.lstrip("/"))
            entry.size = source.stat().st_size
            entry.mode = 0o755
            with source.open("rb") as content:
                layer.addfile(entry, content)


def _parents(name: str) -> list[str]:
    return [str(parent) for parent in Path(name.lstrip("/")).parents if str(parent) != "."]


def _add_bytes(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    entry = tarfile.TarInfo(name)
    entry.size = len(content)
    archive.addfile(entry, io.BytesIO(content))


def _digest(path: Path) -> str:
    with path.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()
