"""The model of time: what a continuously batching engine never does, whatever it is asked."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchfleet_worker.simulator.batch import Batch, Capacity, Sequence, Step, Timing

lengths = st.tuples(st.integers(1, 60), st.integers(1, 20))  # prompt and output tokens
capacities = st.builds(
    Capacity,
    max_num_seqs=st.integers(1, 6),
    max_num_batched_tokens=st.integers(6, 50),
    num_gpu_blocks=st.integers(20, 40),
    block_size=st.integers(4, 8),
)


def rollout(batch: Batch) -> list[Step]:
    """Iterate until nothing is left, holding every step against the capacity."""
    steps = []
    while step := batch.begin():
        assert len(batch.running) <= batch.capacity.max_num_seqs
        assert 0 <= batch.kv_cache_usage <= 1
        assert step.tokens <= batch.capacity.max_num_batched_tokens
        assert step.seconds > 0
        batch.finish(step)
        steps.append(step)
        assert len(steps) < 10_000, "never comes to an end"
    return steps


@given(capacities, st.lists(lengths, max_size=12))
def test_every_sequence_gets_exactly_its_tokens(
    capacity: Capacity, wanted: list[tuple[int, int]]
) -> None:
    batch = Batch(capacity, Timing())
    sequences = [Sequence(prompt, output) for prompt, output in wanted]
    for sequence in sequences:
        batch.add(sequence)

    steps = rollout(batch)

    assert [s.generated for s in sequences] == [output for _, output in wanted]
    assert sum(len(step.producing) for step in steps) == sum(output for _, output in wanted)
    assert not len(batch)
    first_starts = list(dict.fromkeys(id(s) for step in steps for s in step.started))
    assert first_starts == [id(s) for s in sequences], "first come, first served"


@given(capacities, st.lists(lengths, min_size=1, max_size=12), st.data())
def test_an_aborted_sequence_gets_nothing_more_and_harms_no_other(
    capacity: Capacity, wanted: list[tuple[int, int]], data: st.DataObject
) -> None:
    batch = Batch(capacity, Timing())
    sequences = [Sequence(prompt, output) for prompt, output in wanted]
    for sequence in sequences:
        batch.add(sequence)
    victim = data.draw(st.sampled_from(sequences))
    for _ in range(data.draw(st.integers(0, 10))):
        if step := batch.begin():
            batch.finish(step)
    step = batch.begin()

    batch.abort(victim)
    had = victim.generated
    if step:
        batch.finish(step)
    rollout(batch)

    assert victim.generated == had
    others = [s for s in sequences if s is not victim]
    assert all(s.generated == s.output_tokens for s in others)
    assert not len(batch)


def test_the_youngest_gives_way_when_the_cache_is_full_and_is_served_later() -> None:
    batch = Batch(Capacity(max_num_seqs=2, num_gpu_blocks=4, block_size=4), Timing())
    old, young = Sequence(7, 6), Sequence(7, 6)
    batch.add(old)
    batch.add(young)

    steps = rollout(batch)

    assert [s for step in steps for s in step.preempted] == [young]
    assert (old.generated, young.generated) == (6, 6)


def test_a_larger_batch_takes_longer_and_makes_more() -> None:
    def seconds_and_rate(size: int) -> tuple[float, float]:
        batch = Batch(Capacity(), Timing())
        for _ in range(size):
            batch.add(Sequence(10, 50))
        seconds = sum(step.seconds for step in rollout(batch))
        return seconds, size * 50 / seconds

    alone, crowd = seconds_and_rate(1), seconds_and_rate(64)
    assert alone[0] < crowd[0] < 2.2 * alone[0]
    assert crowd[1] > 25 * alone[1]


def test_a_token_takes_what_the_table_says() -> None:
    batch = Batch(Capacity(), Timing())
    for _ in range(100):
        batch.add(Sequence(10, 3))
    prefill, decode, _ = rollout(batch)
    assert prefill.seconds == pytest.approx(0.0043 + 0.000113 * 1000)
    assert decode.seconds == pytest.approx(0.0288 + 0.000336 * 100)


def test_a_long_prompt_is_computed_in_chunks_beside_the_tokens_of_others() -> None:
    batch = Batch(Capacity(max_num_seqs=4, max_num_batched_tokens=32), Timing())
    short, long = Sequence(4, 10), Sequence(90, 1)
    batch.add(short)
    batch.finish(batch.begin() or pytest.fail("there is work"))
    batch.add(long)

    steps = rollout(batch)

    assert [step.prefill_tokens for step in steps[:3]] == [31, 31, 28]
    assert all(short in step.producing for step in steps[:3])
    assert long in steps[2].producing


@pytest.mark.parametrize(("prompt", "output"), [(0, 1), (1, 0), (60, 5)])
def test_what_can_never_run_is_refused(prompt: int, output: int) -> None:
    batch = Batch(Capacity(num_gpu_blocks=4, block_size=16), Timing())
    with pytest.raises(ValueError, match=r"at least one|larger than"):
        batch.add(Sequence(prompt, output))
