"""What the demo prints: numbered steps with their seconds, the table, and where to go next."""

from __future__ import annotations

import itertools
import sys
import textwrap
import time
from collections.abc import Iterator
from contextlib import contextmanager

from e2e.demo.automation import Told
from e2e.demo.measure import (
    LATENCY_COUNTED,
    LATENCY_TOKENS,
    LATENCY_TURNS,
    OTHER_CLIENTS,
    SAME_CLIENTS,
    Crowd,
    Latency,
)
from e2e.support.fleet import Fleet
from e2e.support.kube import Kube
from e2e.support.prometheus import NAMESPACE as MONITORING

_SHOWN_CHARACTERS = 160
_SAID_CHARACTERS = 78  # of what the status says, per line

_numbers = itertools.count(1)


@contextmanager
def numbered(title: str) -> Iterator[None]:
    """A step of the demo; steps within it say their own lines on stderr."""
    number = next(_numbers)
    print(f"[{number}] {title}", file=sys.stderr, flush=True)
    began = time.monotonic()
    yield
    print(f"[{number}] done in {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)


def results(crowd: Crowd, through: Latency, past: Latency) -> None:
    asked = len(crowd.answers)
    reached = asked - crowd.merged
    rows = [
        ("requests asked", asked, f"{SAME_CLIENTS} clients with one question, in step;"),
        ("", "", f"{OTHER_CLIENTS} with a new question each time"),
        ("complete answers", asked, "streams to their [DONE]"),
        ("merged", crowd.merged, "answers marked x-batchfleet-result: joined"),
        ("", crowd.merged, "says Prometheus (batchfleet_requests_merged_total)"),
        ("reached the engine", reached, "says Prometheus (vllm:request_success_total)"),
    ]
    print()
    for name, value, source in rows:
        print(f"  {name:<20}{value:>6}   {source}")
    print(f"\n  {'latency, ms':<20}{'p50':>6}{'p95':>8}")
    for name, latency in (("through the sidecar", through), ("the engine alone", past)):
        print(f"  {name:<20}{latency.p50:>6.1f}{latency.p95:>8.1f}")
    counted = LATENCY_TURNS * LATENCY_COUNTED
    print(f"  ({counted} answers of {LATENCY_TOKENS} tokens each, one by one, inside the pod)")
    text = "".join(c for c in crowd.same.answers[0].text if c.isprintable() and c != "\ufffd")
    print(f"\n  an answer: {text[:_SHOWN_CHARACTERS]} …")


def automation(told: Told) -> None:
    """What `kubectl describe` says of it."""
    for name, said in ((f"pods wanted: {told.wanted}", told.sizing), ("slow-tokens", told.rule)):
        first, *more = textwrap.wrap(said, _SAID_CHARACTERS)
        print(f"\n  {name:<18}{first}", end="")
        print("".join(f"\n{'':20}{line}" for line in more), end="")
    print("\n")


def listing(table: str) -> None:
    print("".join(f"  {line}\n" for line in table.splitlines()))


def farewell(kube: Kube, fleet: Fleet, model: str) -> None:
    body = f'{{"model": "{model}", "messages": [{{"role": "user", "content": "Hello"}}]}}'
    print(
        f"""Look further:
  export KUBECONFIG={kube.kubeconfig}
  export PATH={kube.kubectl.parent}:$PATH
  kubectl get bis,pods
  kubectl describe bis {fleet.name}
  kubectl patch bis {fleet.name} --type=merge -p '{{"spec": {{"batching": {{"maxBatchSize": 8}}}}}}'
  kubectl port-forward service/{fleet.name} 8000:80 &
  curl -i localhost:8000/v1/chat/completions -H 'content-type: application/json' -d '{body}'
  kubectl -n {MONITORING} port-forward service/prometheus 9090:9090

Remove everything: make demo-down"""
    )
