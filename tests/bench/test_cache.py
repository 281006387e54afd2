"""What a bench does about programs that are not there."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from bench import cache


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path))
    return tmp_path


def test_one_line_brings_all_that_is_missing() -> None:
    with pytest.raises(cache.MissingError, match=r"apt-get install one two$"):
        cache.programs({"sh": "dash", "no-such-b": "two", "no-such-a": "one"})


def test_a_program_is_compiled_once_for_each_text(folder: Path) -> None:
    source = folder / "hello.c"
    source.write_text('#include <stdio.h>\nint main(void) { return puts("one") < 0; }\n')
    first = cache.compiled(source)
    made_at = first.stat().st_mtime_ns
    assert cache.compiled(source) == first
    assert first.stat().st_mtime_ns == made_at
    source.write_text('#include <stdio.h>\nint main(void) { return puts("two") < 0; }\n')
    second = cache.compiled(source)
    assert subprocess.run([second], capture_output=True, check=True).stdout == b"two\n"


def test_nothing_is_installed_where_that_is_forbidden(folder: Path) -> None:
    assert cache.environment("some", ["some-package"], install=False) is None
    assert list(folder.iterdir()) == []
