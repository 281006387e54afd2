"""The file of live settings: swapped as the kubelet does, half-written, broken, gone."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from batchfleet_worker.live import LiveSettings
from batchfleet_worker.metrics import Metrics
from batchfleet_worker.watch import LiveFile

SMALL = b'{"batching": {"maxBatchSize": 4}}'
LARGE = b'{"batching": {"maxBatchSize": 64}}'


class Watched:
    def __init__(self, path: Path) -> None:
        self.applied: list[LiveSettings] = []
        self.metrics = Metrics()
        self.file = LiveFile(path, self.applied.append, self.metrics)

    @property
    def error(self) -> str:
        return self.file.error or ""

    @property
    def sizes(self) -> list[int | None]:
        return [settings.batching.max_batch_size for settings in self.applied]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "settings.json"


def test_a_change_applies_once_and_its_hash_is_told(path: Path) -> None:
    watched = Watched(path)
    path.write_bytes(SMALL)
    watched.file.poll()
    watched.file.poll()
    path.write_bytes(LARGE)
    watched.file.poll()
    assert watched.sizes == [4, 64]
    digest = hashlib.sha256(LARGE).hexdigest()[:16]
    assert watched.file.hash == digest
    assert watched.metrics.settings_info == {digest: 1}


def test_the_kubelets_way_of_swapping_a_symlink_is_seen(tmp_path: Path) -> None:
    for name, data in (("old", SMALL), ("new", LARGE)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "settings.json").write_bytes(data)
    (tmp_path / "..data").symlink_to("old")
    (tmp_path / "settings.json").symlink_to("..data/settings.json")
    watched = Watched(tmp_path / "settings.json")
    watched.file.poll()
    (tmp_path / "..tmp").symlink_to("new")
    (tmp_path / "..tmp").rename(tmp_path / "..data")
    watched.file.poll()
    assert watched.sizes == [4, 64]


@pytest.mark.parametrize(
    "bad",
    [
        LARGE[:20],
        b"",
        b"\xff",
        b'{"batching": {"maxBatchSize": "64"}}',
        b'{"batching": {"maxBatchSise": 64}}',
        b" " * 70_000 + LARGE,
    ],
)
def test_what_is_not_good_changes_nothing_and_is_told(path: Path, bad: bytes) -> None:
    watched = Watched(path)
    path.write_bytes(SMALL)
    watched.file.poll()
    good = watched.file.hash
    path.write_bytes(bad)
    watched.file.poll()
    watched.file.poll()
    assert watched.sizes == [4]
    assert watched.file.hash == good
    assert watched.error
    assert watched.metrics.settings_errors_total == 1
    path.write_bytes(LARGE)
    watched.file.poll()
    assert watched.sizes == [4, 64]
    assert not watched.error


def test_a_file_that_goes_and_comes_back_unchanged_is_good_again(path: Path) -> None:
    watched = Watched(path)
    watched.file.poll()
    assert "No such file" in watched.error
    path.write_bytes(SMALL)
    watched.file.poll()
    path.unlink()
    watched.file.poll()
    assert watched.error
    path.write_bytes(SMALL)
    watched.file.poll()
    assert not watched.error
    assert watched.sizes[-1] == 4
