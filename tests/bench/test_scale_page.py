"""The simulated workers' metrics go on as a real worker's began."""

from __future__ import annotations

from bench.scale.page import RECORDED_SECONDS, STEP_SECONDS, Page, only

RECORDED = """\
# HELP batchfleet_requests_offered_total Requests.
# TYPE batchfleet_requests_offered_total counter
batchfleet_requests_offered_total 60.0
# HELP batchfleet_queue_wait_seconds Wait.
# TYPE batchfleet_queue_wait_seconds histogram
batchfleet_queue_wait_seconds_bucket{le="0.1"} 30.0
batchfleet_queue_wait_seconds_sum 6.0
batchfleet_in_flight 2.0
vllm:num_requests_running{model_name="m n"} 3.0
"""


def samples(page: bytes) -> dict[str, float]:
    lines = [line.rpartition(" ") for line in page.decode().splitlines() if line[0] != "#"]
    return {name: float(value) for name, _, value in lines}


def test_counters_grow_at_their_recorded_rate_and_gauges_stay() -> None:
    page = Page(RECORDED)
    before, after = (samples(page.of("a", seconds)) for seconds in (0.0, RECORDED_SECONDS))
    assert after == before | {
        "batchfleet_requests_offered_total": 120.0,
        'batchfleet_queue_wait_seconds_bucket{le="0.1"}': 60.0,
        "batchfleet_queue_wait_seconds_sum": 12.0,
    }


def test_no_counter_ever_falls() -> None:
    page = Page(RECORDED)
    seen = [samples(page.of("a", step * STEP_SECONDS / 3)) for step in range(30)]
    counted = [each["batchfleet_requests_offered_total"] for each in seen]
    assert counted == sorted(counted)


def test_only_what_is_asked_for_is_left() -> None:
    left = only(RECORDED, lambda name: name == "batchfleet_queue_wait_seconds")
    assert sorted(samples(left.encode())) == [
        'batchfleet_queue_wait_seconds_bucket{le="0.1"}',
        "batchfleet_queue_wait_seconds_sum",
    ]
