"""The kept corpus of the fuzz: streams that once broke something, and the traps by name."""

from __future__ import annotations

import random

import pytest

from tests.worker.fuzz_http import check, corpus

KEPT = list(corpus())


def test_there_is_a_corpus_for_both_sides() -> None:
    assert {side for side, _, _ in KEPT} == {"client", "engine"}


@pytest.mark.parametrize(("side", "data", "name"), KEPT, ids=[name for _, _, name in KEPT])
def test_a_kept_stream_breaks_no_promise(side: str, data: bytes, name: str) -> None:
    dice = random.Random(name)
    for _ in range(20):
        check(side, data, dice)
