"""An image archive is what `ctr images import` expects of `docker save`."""

from __future__ import annotations

import hashlib
import json
import tarfile
from pathlib import Path
from typing import IO

from e2e.kind import image_archive


def member(archive: tarfile.TarFile, name: str) -> IO[bytes]:
    content = archive.extractfile(name)
    assert content is not None
    return content


def test_layers_tag_and_entrypoint(tmp_path: Path) -> None:
    program = tmp_path / "program"
    program.write_bytes(b"\x7fELF")
    base = tmp_path / "base"
    with tarfile.open(base, "w") as tar:
        tar.add(program, arcname="etc/motd")

    target = tmp_path / "image.tar"
    image_archive.write(
        target,
        "registry.k8s.io/pause:3.10",
        {"/usr/local/bin/pause": program},
        entrypoint=["/usr/local/bin/pause"],
        base_layer=base,
        user="65534",
    )

    with tarfile.open(target) as archive:
        (manifest,) = json.load(member(archive, "manifest.json"))
        config = json.load(member(archive, manifest["Config"]))
        assert manifest["RepoTags"] == ["registry.k8s.io/pause:3.10"]
        assert config["config"]["Entrypoint"] == ["/usr/local/bin/pause"]
        assert config["config"]["User"] == "65534"
        digests = [
            hashlib.sha256(member(archive, layer).read()).hexdigest()
            for layer in manifest["Layers"]
        ]
        assert config["rootfs"]["diff_ids"] == [f"sha256:{digest}" for digest in digests]
        with tarfile.open(fileobj=member(archive, manifest["Layers"][-1])) as layer:
            assert [(entry.name, entry.mode) for entry in layer] == [
                ("usr", 0o755),
                ("usr/local", 0o755),
                ("usr/local/bin", 0o755),
                ("usr/local/bin/pause", 0o755),
            ]
            assert member(layer, "usr/local/bin/pause").read() == b"\x7fELF"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["base", "image.tar", "program"]
