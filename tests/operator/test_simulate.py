"""The simulator: that its fleet obeys its own physics, and its policies their makers' rules."""

from __future__ import annotations

import gzip
import itertools
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batchfleet_operator.cli import main
from batchfleet_operator.simulate import hpa, readers, synthetic
from batchfleet_operator.simulate.engine import Physics
from batchfleet_operator.simulate.fleet import Fleet, Make
from batchfleet_operator.simulate.known import Static
from batchfleet_operator.simulate.kpa import KPA
from batchfleet_operator.simulate.meter import Meter
from batchfleet_operator.simulate.policy import Bounds
from batchfleet_operator.simulate.readers import Wanted
from batchfleet_operator.simulate.run import Scenario, run
from batchfleet_operator.simulate.trace import Trace, TraceError

PHYSICS = Physics()
BOUNDS = Bounds(1, 40)


def trace(*requests: tuple[float, int, int], seconds: float = 600) -> Trace:
    """Requests of (arrival, prompt tokens, output tokens)."""
    columns = [list(column) for column in zip(*requests, strict=True)]
    return Trace("test", seconds, columns[0], columns[1], columns[2])


def one_pod(physics: Physics = PHYSICS) -> Scenario:
    return Scenario(Make(physics), start_replicas=1)


def test_a_request_alone_takes_its_prefill_and_its_steps() -> None:
    outcome = run(trace((10.0, 1000, 101)), Static(1), one_pod())
    assert outcome.attained == 1
    assert outcome.first_token_p99 == pytest.approx(0.0043 + 0.113)


def test_a_request_that_cannot_be_let_in_waits_for_one_that_ends() -> None:
    physics = Physics(batch=1)
    first, second = (10.0, 1000, 101), (10.001, 1000, 101)
    outcome = run(trace(first, second), Static(1), one_pod(physics))
    whole = physics.prefill_seconds(1000) + 100 * physics.step_seconds(1)
    waited = 10.0 + whole + physics.prefill_seconds(1000) - second[0]
    assert outcome.first_token_p99 == pytest.approx(waited)
    assert outcome.attained == 1, "the second one waits longer than the bound of 2 s"


def test_what_comes_to_a_full_queue_is_refused_and_counts_as_missed() -> None:
    requests = [(10.0 + k / 1000, 100, 100) for k in range(5)]
    outcome = run(trace(*requests), Static(1), one_pod(Physics(batch=1, queue=2)))
    assert (outcome.requests, outcome.refused) == (5, 2)
    assert outcome.attained <= 3


def test_a_pod_costs_from_its_creation_and_serves_after_its_cold_start() -> None:
    quiet = trace((1.0, 10, 10))
    outcome = run(quiet, Static(3), Scenario(Make(cold_start_seconds=180), start_replicas=1))
    assert outcome.replica_hours == pytest.approx(3 * 600 / 3600, rel=0.01)
    serving = {moment.at: moment.serving for moment in outcome.series}
    assert (serving[120], serving[240]) == (1, 3)


def test_a_pod_that_is_taken_away_answers_what_it_has_begun() -> None:
    class Down:
        tick_seconds = 15.0

        def look(self, fleet: Fleet, meter: Meter, now: float) -> int:
            return 2 if now < 60 else 1

    busy = trace(*((50.0 + k / 10, 500, 1000) for k in range(20)))
    outcome = run(busy, Down(), Scenario(start_replicas=2))
    assert outcome.refused == 0
    assert outcome.attained == 20


@settings(max_examples=25, deadline=None)
@given(
    st.lists(
        st.tuples(st.floats(0, 300), st.integers(1, 4000), st.integers(1, 300)),
        min_size=1,
        max_size=60,
    ),
    st.integers(1, 3),
)
def test_every_request_ends_once_and_only_once(
    requests: list[tuple[float, int, int]], pods: int
) -> None:
    seen: dict[str, int] = {}

    def look(fleet: Fleet, meter: Meter, now: float) -> None:
        ledger = fleet.ledger
        inside = sum(
            pod.engine.running + len(pod.engine.queue)
            for pod in fleet.pods.values()
            if pod.engine is not None
        )
        assert ledger.offered == ledger.completed + ledger.refused + inside
        assert inside == sum(fleet.loads)
        seen["completed"] = ledger.completed

    outcome = run(
        trace(*sorted(requests), seconds=3600),
        Static(pods),
        Scenario(start_replicas=pods),
        each=look,
    )
    assert seen["completed"] == len(requests)
    assert outcome.attained <= outcome.requests == len(requests)


def test_the_same_seed_gives_the_same_run() -> None:
    load = synthetic.make("synthetic:steps", Wanted(seed=3, hours=0.5))
    runs = [run(load, hpa.in_flight(24, BOUNDS), Scenario(seed=1)) for _ in range(2)]
    assert runs[0] == runs[1]


def test_an_hpa_leaves_a_fleet_within_its_tolerance_alone() -> None:
    load = synthetic.make("synthetic:flat", Wanted(hours=0.5))
    inside = [run(load, hpa.in_flight(target, BOUNDS), Scenario()) for target in (5, 20)]
    assert inside[0].series[-1].asked > inside[1].series[-1].asked


def test_an_hpa_grows_by_no_more_than_the_larger_of_double_and_four() -> None:
    sizes: list[int] = []
    load = synthetic.make("synthetic:burst", Wanted(mean_rate=20, hours=1.3))
    run(
        load,
        hpa.in_flight(4, Bounds(1, 200)),
        Scenario(start_replicas=1),
        each=lambda fleet, meter, now: sizes.append(fleet.asked),
    )
    grown = [(a, b) for a, b in itertools.pairwise(sizes) if b > a]
    assert grown
    assert all(b <= max(2 * a, a + 4) for a, b in grown)


def test_an_hpa_shrinks_only_to_the_highest_size_of_five_minutes() -> None:
    sizes: list[tuple[float, int]] = []
    load = synthetic.make("synthetic:burst", Wanted(hours=1.5))
    run(
        load,
        hpa.in_flight(10, BOUNDS),
        Scenario(),
        each=lambda fleet, meter, now: sizes.append((now, fleet.asked)),
    )
    last_growth = max(at for (at, b), (_, a) in zip(sizes[1:], sizes, strict=False) if b > a)
    shrinks = [at for (at, b), (_, a) in zip(sizes[1:], sizes, strict=False) if b < a]
    assert all(at < last_growth or at - last_growth >= 285 for at in shrinks)


def test_a_kpa_panics_at_a_burst_and_does_not_shrink_while_it_does() -> None:
    sizes: list[tuple[float, int]] = []
    load = synthetic.make("synthetic:burst", Wanted(hours=1.3))
    run(
        load,
        KPA(20, BOUNDS),
        Scenario(Make(cold_start_seconds=600)),
        each=lambda fleet, meter, now: sizes.append((now, fleet.asked)),
    )
    burst = [size for now, size in sizes if 3620 <= now < 4200]
    assert burst == sorted(burst)
    assert burst[-1] > burst[0]


def test_a_servegen_day_keeps_its_mean_rate_however_bursty_its_clients(tmp_path: Path) -> None:
    path = tmp_path / "rates.csv.gz"
    rows = ["client,window_start_s,rate_rps,cv,pattern,pattern_param1,pattern_param2"]
    for client in range(30):
        for window in range(144):
            rows.append(f"{client},{86400 + window * 600},0.05,3,Gamma,0.11,9")
    path.write_bytes(gzip.compress("\n".join(rows).encode()))
    made = readers.read(path, Wanted(seed=1, day=1, mean_rate=3.0))
    assert made.mean_rate == pytest.approx(3.0, rel=0.05)
    assert made.arrivals == sorted(made.arrivals)
    with pytest.raises(TraceError, match=r"has no day 0.*these: 1"):
        readers.read(path, Wanted(day=0))


@pytest.mark.parametrize(("rate", "count"), [(None, 3), (0.3, 30)])
def test_an_azure_trace_is_replayed_as_it_is_or_scaled(
    tmp_path: Path, rate: float | None, count: int
) -> None:
    path = tmp_path / "azure.csv"
    rows = [f"2023-11-16 18:{15 + k}:46.6805900,374,44" for k in (0, 1)]
    rows.append("2023-11-16 18:17:25.6805900,10,0")
    path.write_text("TIMESTAMP,ContextTokens,GeneratedTokens\n" + "\n".join(rows) + "\n")
    made = readers.read(path, Wanted(mean_rate=rate))
    assert len(made) == pytest.approx(count, abs=0.4 * count if rate else 0)
    assert min(made.outputs) >= 1


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--trace", "nowhere.csv"], "no such file"),
        (["--trace", "synthetic:wave"], "Synthetic traces: burst, day, flat, ramp, steps"),
        (["--trace", "synthetic:flat", "--policy", "magic"], "Policies: batchfleet, hpa"),
        (["--trace", "synthetic:flat", "--policy", "hpa=-1"], "a number above 0"),
        (["--trace", "synthetic:flat", "--cold-start", "soon"], "give seconds above 0"),
        (["--trace", "synthetic:flat", "--fault", "meteor:1:2"], "Kinds: metrics-gone"),
        (["--trace", "synthetic:flat", "--replicas", "9-2"], "give MIN-MAX"),
        (["--trace", "synthetic:flat", "--plot", "a.png"], "only .svg is drawn"),
        (["--trace", "synthetic:flat", "--plot", "/nowhere/a.svg"], "there is no folder /nowhere"),
        (["--trace", "synthetic:flta"], "did you mean flat?"),
        (["--trace", "synthetic:flat", "--policy", "hpx"], "did you mean hpa?"),
        (["--trace", "synthetic:flat", "--policy", "hpa=nan"], "a number above 0"),
        (["--trace", "synthetic:flat", "--hours", "nan"], "--hours nan: must be above 0"),
        (["--trace", "synthetic:flat", "--cold-start", "nan"], "give seconds above 0"),
        (["--trace", "synthetic:flat", "--fault", "quota:nan:1"], "Kinds: metrics-gone"),
    ],
)
def test_misuse_is_answered_with_what_to_do(
    options: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["simulate", *options])
    assert ended.value.code == 2
    assert said in capsys.readouterr().err


def test_the_command_prints_a_row_for_each_policy_and_draws(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    drawn = tmp_path / "plot.svg"
    with pytest.raises(SystemExit) as ended:
        main(
            [
                "simulate",
                "--trace",
                "synthetic:flat",
                "--hours",
                "0.2",
                "--plot",
                str(drawn),
                "--mean-rate",
                "3",
                "--alerts",
            ]
        )
    assert ended.value.code == 0
    told = capsys.readouterr().out
    assert all(f" {name}=" in told for name in ("batchfleet", "hpa", "kpa", "keda", "wva"))
    assert drawn.read_text().startswith("<svg")
    assert "replica-hours" in drawn.read_text()
