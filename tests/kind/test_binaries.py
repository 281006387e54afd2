"""The go.mod files are the one place where versions stand, and they agree with each other."""

from __future__ import annotations

import re
from pathlib import Path

from e2e.kind import binaries

CLUSTER = (Path(binaries.__file__).parent / "go/cluster/go.mod").read_text()


def test_every_staging_module_is_of_kubernetes_own_release() -> None:
    """A bump of k8s.io/kubernetes alone would mix two releases, and may even compile."""
    staging = re.findall(r"^\t(\S+) => \1 v0\.(\S+)$", CLUSTER, re.M)
    assert len(staging) >= 29
    assert {f"v1.{version}" for _, version in staging} == {binaries.kubernetes_version()}


def test_etcd_is_the_one_that_kubernetes_is_built_with() -> None:
    versions = re.findall(r"^\tgo\.etcd\.io/etcd/(?:client|server)/v3 (\S+)", CLUSTER, re.M)
    assert len(versions) == 2
    assert len(set(versions)) == 1


def test_every_program_has_one_group() -> None:
    assert len(set(binaries.NAMES)) == len(binaries.NAMES)
    assert {name for names in binaries.SETS.values() for name in names} <= set(binaries.NAMES)
