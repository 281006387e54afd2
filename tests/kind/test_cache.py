"""An artefact is made once, whole, also when two ask for it at once."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from e2e.kind import cache


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("E2E_CACHE", str(tmp_path))
    return tmp_path


def test_two_at_once_make_it_once() -> None:
    started, go_on = threading.Event(), threading.Event()
    makers: list[str] = []

    def make(path: Path) -> None:
        makers.append(threading.current_thread().name)
        started.set()
        assert go_on.wait(10)
        path.write_text("whole")

    def ask() -> None:
        cache.artefact("thing-1", "make a thing", make)

    first = threading.Thread(target=ask, name="first")
    second = threading.Thread(target=ask, name="second")
    first.start()
    assert started.wait(10)
    second.start()
    go_on.set()
    first.join(10)
    second.join(10)
    assert makers == ["first"]
    assert (cache.folder() / "thing-1").read_text() == "whole"


def test_a_failure_leaves_nothing_and_the_next_one_succeeds(folder: Path) -> None:
    def fail(path: Path) -> None:
        path.mkdir()
        (path / "half").write_text("")
        raise RuntimeError("cut off")

    with pytest.raises(RuntimeError, match="cut off"):
        cache.artefact("thing-1", "make a thing", fail)
    assert list(folder.glob("thing*")) == []
    made = cache.artefact("thing-1", "make a thing", lambda path: path.mkdir())
    assert made.is_dir()


def test_what_a_killed_process_left_is_made_anew(folder: Path) -> None:
    (folder / "thing-1.partial").mkdir()
    made = cache.artefact("thing-1", "make a thing", lambda path: path.mkdir())
    assert [path.name for path in folder.glob("thing*")] == [made.name]


def test_shared_holders_are_seen() -> None:
    with cache.lock("use", shared=True), cache.lock("use", shared=True):
        assert cache.is_held("use")
    assert not cache.is_held("use")


def test_parts_do_not_run_into_each_other() -> None:
    assert cache.fingerprint(["ab", "c"]) != cache.fingerprint(["a", "bc"])
