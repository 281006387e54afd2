"""The CRD on a real API server: what it takes, and what it says to what it does not take."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.kube import GROUP_VERSION, Kube, Object, RefusedError

EXAMPLES = yaml.safe_load(
    (Path(__file__).parents[2] / "operator/refused.yaml").read_text(encoding="utf-8")
)


SERVICES = [
    each
    for path in sorted((Path(__file__).parents[3] / "examples").glob("*.yaml"))
    for each in yaml.safe_load_all(path.read_text(encoding="utf-8"))
    if each["kind"] == "BatchInferenceService"
]


def example(case: Object) -> Object:
    return {
        "apiVersion": GROUP_VERSION,
        "kind": "BatchInferenceService",
        "metadata": {"name": case["name"], "namespace": "default"},
        "spec": laid_over(EXAMPLES["good"], case["change"]),
    }


def laid_over(below: Any, above: Any) -> Any:
    """A merge-patch: null takes a field away."""
    if not isinstance(below, dict) or not isinstance(above, dict):
        return above
    merged = below | {name: laid_over(below.get(name), value) for name, value in above.items()}
    return {name: value for name, value in merged.items() if value is not None}


@pytest.mark.parametrize("case", EXAMPLES["refused"], ids=lambda case: str(case["says"])[:60])
def test_bad_input_is_refused_with_a_sentence_that_helps(kube: Kube, case: Object) -> None:
    with pytest.raises(RefusedError) as refusal:
        kube.apply(example(case), dry_run=True)
    assert case["says"] in str(refusal.value)


@pytest.mark.parametrize("case", EXAMPLES["accepted"], ids=lambda case: str(case["change"])[:60])
def test_the_limit_itself_is_accepted(kube: Kube, case: Object) -> None:
    stored = kube.apply(example(case), dry_run=True)
    assert stored["spec"].get("engine", {}).get("type")


@pytest.mark.parametrize("found", SERVICES, ids=lambda found: str(found["metadata"]["name"]))
def test_the_examples_are_accepted(kube: Kube, found: Object) -> None:
    metadata = found["metadata"] | {"namespace": "default"}
    assert kube.apply(found | {"metadata": metadata}, dry_run=True)


def test_an_unknown_field_is_refused(kube: Kube) -> None:
    case = {"name": "chat", "change": {"engine": {"maxNumSequences": 3}}}
    with pytest.raises(RefusedError, match="maxNumSequences"):
        kube.apply(example(case), dry_run=True)


@pytest.mark.parametrize(
    ("lengths", "good"), [((8192, 8192, 3616), True), ((8192, 8192, 3617), False)]
)
def test_warmup_prompts_are_bounded_together(
    kube: Kube, lengths: tuple[int, ...], good: bool
) -> None:
    prompts = ["x" * length for length in lengths]
    wanted = example({"name": "chat", "change": {"worker": {"warmupPrompts": prompts}}})
    if good:
        assert kube.apply(wanted, dry_run=True)
    else:
        with pytest.raises(RefusedError, match="at most 20000 characters together"):
            kube.apply(wanted, dry_run=True)
