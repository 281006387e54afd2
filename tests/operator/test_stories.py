"""Stories: a service, what is observed, and the plan that comes out, as files one can read.

`pytest tests/operator --update-stories` writes the plans anew; the difference is the review.
An empty fingerprint in `observed.yaml` stands for that of the trial which the plan asks for.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from batchfleet_operator import documents
from batchfleet_operator.config import Config
from batchfleet_operator.decision import fingerprint, plan_as_yaml
from batchfleet_operator.plan import plan

STORIES = sorted(path.parent for path in Path(__file__).parent.glob("stories/*/service.yaml"))


@pytest.mark.parametrize("story", STORIES, ids=lambda path: path.name)
def test_story(story: Path, request: pytest.FixtureRequest) -> None:
    (service,) = documents.services(story / "service.yaml")
    observed, now = documents.observed(story / "observed.yaml")
    if observed.verdict is not None and not observed.verdict.fingerprint:
        trial = plan(service, replace(observed, verdict=None), Config(), now).dry_run
        assert trial is not None
        verdict = replace(observed.verdict, fingerprint=fingerprint(trial))
        observed = replace(observed, verdict=verdict)

    told = plan_as_yaml(plan(service, observed, Config(), now))

    expected = story / "plan.yaml"
    if request.config.getoption("--update-stories", default=False):
        expected.write_text(told)
    assert told == expected.read_text()
