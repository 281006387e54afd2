"""The simulated model's words: the same for the same prompt, and as long as was asked."""

from __future__ import annotations

from hypothesis import assume, given
from hypothesis import strategies as st

from batchfleet_worker.simulator.text import Wish, count, embedding, reply, tokens

MEAN = 20
wishes = st.builds(Wish, st.integers(1, 100), st.integers(0, 50), st.booleans())


@given(st.text(), st.integers(0, 3), wishes)
def test_a_reply_is_as_long_as_it_says_and_always_the_same(
    prompt: str, choice: int, wish: Wish
) -> None:
    answer = reply(prompt, choice, wish, MEAN)
    assert count(answer.text) == answer.tokens == len(tokens(answer.text))
    assert answer.ends[-1] == len(answer.text)
    assert 1 <= answer.tokens <= wish.max_tokens
    assert answer.tokens >= min(wish.min_tokens, wish.max_tokens)
    assert (answer.finish_reason == "length") >= (wish.ignore_eos)
    assert answer == reply(prompt, choice, wish, MEAN)


@given(st.text(), st.text())
def test_other_prompts_and_choices_have_other_texts(one: str, other: str) -> None:
    assume(one != other)
    wish = Wish(max_tokens=16, ignore_eos=True)
    texts = [reply(prompt, choice, wish, MEAN).text for prompt in (one, other) for choice in (0, 1)]
    assert len(set(texts)) == 4


@given(st.text(), st.integers(0, 200), st.integers(1, 6))
def test_a_stop_string_ends_the_text_before_it(prompt: str, start: int, length: int) -> None:
    whole = reply(prompt, 0, Wish(max_tokens=50), MEAN)
    stop = whole.text[start : start + length]
    assume(stop)
    cut = reply(prompt, 0, Wish(max_tokens=50, stop=("never said", stop)), MEAN)
    assert cut.text == whole.text[: whole.text.index(stop)]
    assert (cut.finish_reason, cut.stop_reason) == ("stop", stop)
    assert cut.ends[-1] == len(cut.text)
    assert list(cut.ends) == sorted(cut.ends)


@given(st.text(max_size=50))
def test_the_pieces_of_a_text_are_as_many_as_it_counts(text: str) -> None:
    assert len(tokens(text)) == count(text)


def test_an_embedding_is_a_unit_vector_of_its_text() -> None:
    vector = embedding("A batch", 384)
    assert len(vector) == 384
    assert abs(sum(x * x for x in vector) - 1) < 1e-9
    assert vector != embedding("B batch", 384)
