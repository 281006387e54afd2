"""From measured runs to the rows that a person reads, and the bars that they are held to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from batchfleet_worker.live import LiveSettings
from batchfleet_worker.settings import Settings
from bench.hop.proxies import DIRECT, DISABLED, ENFORCE, NGINX, ROUTER, Hop
from bench.hop.rounds import CONNECTIONS, HELD, RATE, Results
from bench.hop.traffic import Shape, body, request
from bench.report import Bar, Report

SATURATED_PERCENT = 90
"""A proxy below this left its core idle: client and engine were the limit, not it."""

MIB = 2**20


@dataclass(frozen=True, slots=True)
class Rest:
    """One proxy at rest, and what it holds."""

    fresh_bytes: int  # resident, before any request
    used_bytes: int  # resident, idle again after all runs
    cpu_percent: float  # of its core, idle
    bytes_per_request: float | None  # in flight; None: not measured


def _ratio(results: Results, mine: str, theirs: str) -> float | None:
    if mine not in results or theirs not in results:
        return None
    return results[mine].ratio(results[theirs])


def _range(results: Results, mine: str, theirs: str) -> str | None:
    if mine not in results or theirs not in results:
        return None
    ratios = results[mine].ratios(results[theirs])
    return f"{min(ratios):.2g}–{max(ratios):.2g}"


def _cpu(name: str, figure: float) -> float | None:
    return None if name == DIRECT else figure


def features(report: Report) -> None:
    """What the sidecar does in this run because it does so by default."""
    live = LiveSettings().model_dump(by_alias=True, mode="json")
    for section, values in live.items():
        for name, value in values.items():
            report.add("On by default in the sidecar", setting=f"{section}.{name}", value=value)
    start = Settings().model_dump(mode="json")
    addresses = ("upstream", "host", "port", "admin_host", "admin_port", "live_settings")
    for name, value in start.items():
        if name not in addresses:
            report.add("On by default in the sidecar", setting=name, value=value)


def throughput(report: Report, hops: Sequence[Hop], plain: Results, alone: Results) -> None:
    sizes = f"{len(body(Shape.PLAIN))}-byte bodies in {len(request(Shape.PLAIN))}-byte requests"
    title = f"Throughput: {sizes}, all unique, {CONNECTIONS} connections, one core"
    for hop in hops:
        if (runs := plain.get(hop.name)) is None:
            continue
        single = alone.get(hop.name)
        report.add(
            title,
            proxy=hop.name,
            **{
                "requests/s": runs.per_second,
                "÷ direct": _ratio(plain, hop.name, DIRECT),
                "÷ nginx": _ratio(plain, hop.name, NGINX),
                "in the rounds": _range(plain, hop.name, NGINX),
                "CPU µs/request": _cpu(hop.name, runs.cpu_us_per_request),
                "CPU ÷ nginx": _cpu_ratio(plain, hop.name),
                "its core %": _cpu(hop.name, runs.busy_percent),
                "p50 µs at 1": single and single.middle(lambda sent: sent.p50_us),
            },
        )
    names = {hop.name for hop in hops}
    idle = [
        hop.name
        for hop in hops
        if hop.process and hop.name in plain and plain[hop.name].busy_percent < SATURATED_PERCENT
    ]
    if idle:
        report.notes.append(
            f"Client and engine, on the other core, were the limit (or the machine was busy) where "
            f"a proxy's core was less than {SATURATED_PERCENT} % its own: {', '.join(idle)}.  "
            "There the CPU time per request compares them."
        )
    for other, least in ((NGINX, 0.8), (ROUTER, 2.5)):
        if other in names and ENFORCE in names:  # left out is not missed; failed is
            ratio = _ratio(plain, ENFORCE, other)
            report.bars.append(Bar(f"÷ {other}, throughput, Enforce", ratio, at_least=least))


def _cpu_ratio(results: Results, name: str) -> float | None:
    if name == DIRECT or NGINX not in results:
        return None
    return results[name].cpu_us_per_request / results[NGINX].cpu_us_per_request


def shapes(report: Report, hops: Sequence[Hop], by_shape: Mapping[Shape, Results]) -> None:
    """The sidecar remembers heads: what a head that never comes again costs it must be seen."""
    title = "Shapes: one head for all; a traceparent that never repeats; many lengths"
    for hop in hops:
        if not all(hop.name in results for results in by_shape.values()):
            continue
        row: dict[str, Any] = {"proxy": hop.name}
        for shape, results in by_shape.items():
            row[f"{shape} requests/s"] = results[hop.name].per_second
            row[f"{shape} ÷ nginx"] = _ratio(results, hop.name, NGINX)
        for shape, results in by_shape.items():
            row[f"{shape} CPU µs"] = _cpu(hop.name, results[hop.name].cpu_us_per_request)
        report.add(title, **row)


def streaming(report: Report, hops: Sequence[Hop], results: Results) -> None:
    title = "Streaming: events that come one at a time"
    for hop in hops:
        if (runs := results.get(hop.name)) is None:
            continue
        report.add(
            title,
            proxy=hop.name,
            **{
                "events/s": sum(one.events for one in runs.sent)
                / sum(one.seconds for one in runs.sent),
                "CPU µs/event": _cpu(hop.name, runs.cpu_us_per_event),
                "events per read at the client": runs.events_per_read,
            },
        )
    if any(hop.name == ENFORCE for hop in hops):
        cost = results[ENFORCE].cpu_us_per_event if ENFORCE in results else None
        report.bars.append(Bar("streaming, CPU µs per chunk, Enforce", cost, at_most=20))


def latency(report: Report, hops: Sequence[Hop], results: Results) -> None:
    title = f"Latency in µs: open loop, {RATE:.0f} requests/s"
    nginx = results.get(NGINX)
    for hop in hops:
        if (runs := results.get(hop.name)) is None:
            continue
        report.add(
            title,
            proxy=hop.name,
            p50=runs.middle(lambda sent: sent.p50_us),
            p99=runs.middle(lambda sent: sent.p99_us),
            max=runs.middle(lambda sent: sent.max_us),
            **{"p99 over nginx": nginx and runs.above(nginx, lambda sent: sent.p99_us)},
        )
    if {NGINX, ENFORCE} <= {hop.name for hop in hops}:
        ours = results.get(ENFORCE)
        over = None
        if nginx and ours:
            over = ours.above(nginx, lambda sent: sent.p99_us) / 1000
        report.bars.append(Bar("p99 ms over nginx, Enforce", over, at_most=1))


def memory(report: Report, at_rest: Mapping[str, Rest]) -> None:
    title = f"Memory: resident, and for each of {HELD} requests in flight"
    for name, rest in at_rest.items():
        report.add(
            title,
            proxy=name,
            **{
                "fresh MiB": rest.fresh_bytes / MIB,
                "idle after the runs MiB": rest.used_bytes / MIB,
                "KiB per request in flight": (
                    None if rest.bytes_per_request is None else rest.bytes_per_request / 1024
                ),
                "idle CPU %": rest.cpu_percent,
            },
        )
    ours = [at_rest[name] for name in (DISABLED, ENFORCE) if name in at_rest]
    if ours:
        fresh = max(rest.fresh_bytes for rest in ours) / 1e6
        report.bars.append(Bar("RSS MB, idle, before any request", fresh, at_most=48))


def inside(report: Report, figures: dict[str, Any]) -> None:
    """Of ``bench.hop.inside``."""
    title = "Merge logic with bodies of 64 KiB: CPU µs of one offer"
    for what, times in figures["offer"].items():
        report.add(
            title,
            offer=f"{what}",
            p50=times["p50_us"],
            p99=times["p99_us"],
            max=times["max_us"],
        )
    flights = figures["flights"]
    kinds = {
        "Enforce": "enforce",
        "Disabled": "disabled",
        "Enforce, no two heads equal": "unique_heads",
    }
    for label, kind in kinds.items():
        report.add(
            f"Memory of {flights:,} flights of one request each, in bytes for each",
            merging=label,
            **{
                "request, less its body": round(figures[kind]["request_bytes"]),
                "flight, key, tables": round(figures[kind]["flight_bytes"]),
            },
        )
    slowest = max(times["p99_us"] for times in figures["offer"].values())
    state = figures["enforce"]["flight_bytes"] * 10_000 / 1e6
    report.bars += [
        Bar("merge logic p99 ms at 64 KiB", slowest / 1000, at_most=1),
        Bar("merge state MB at 10,000 flights", state, at_most=10),
    ]
