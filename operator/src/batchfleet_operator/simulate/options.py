"""The options of ``batchfleet-operator simulate``, and its help.  ``command`` understands them."""

from __future__ import annotations

import argparse
from pathlib import Path

from batchfleet_operator.simulate import catalogue

HELP = """\
Replay request traces against a model of the fleet, one policy after the other:

  batchfleet-operator simulate --trace synthetic:burst
  batchfleet-operator simulate --trace synthetic:day --policy batchfleet=60,hpa=24,static=8 \\
      --cold-start 60,180,420 --plot day.svg
  batchfleet-operator simulate --trace azure_llm_2023_conv.csv.gz --mean-rate 12
  batchfleet-operator simulate --trace servegen.csv.gz --day 1 --mean-rate 12 --starts 5 \\
      --lengths azure_llm_2023_conv.csv.gz
  batchfleet-operator simulate --trace synthetic:day --fault metrics-gone:3600:300

Traces: synthetic:burst, day, flat, ramp or steps; a file of Azure's LLM inference traces (one row
per request); or a file of ServeGen's rates (one row per client and window). No cluster is needed
and none is asked. docs/simulate.md says what the model has and what it leaves out. Exit status: 0,
1 where the picture cannot be written, 2 for wrong use.

Policies, each with =SETTING (default in brackets):
"""


def arguments(parser: argparse.ArgumentParser) -> None:
    """The options of ``simulate``."""
    parser.add_argument(
        "--trace",
        required=True,
        metavar="FILE[,…]",
        help="what is replayed; synthetic:NAME needs no file",
    )
    parser.add_argument(
        "--policy",
        default="all",
        metavar="NAME[=SETTING][,…]",
        help="which policies (default: all)",
    )
    parser.add_argument(
        "--cold-start",
        default="180",
        metavar="S[,…]",
        help="seconds from a pod's creation until it serves (default: 180)",
    )
    parser.add_argument(
        "--mean-rate", type=float, metavar="R", help="requests per second (default: the trace's)"
    )
    parser.add_argument(
        "--hours", type=float, metavar="H", help="only the first H hours (default: all)"
    )
    parser.add_argument(
        "--day", type=int, default=0, help="which day of a ServeGen file (default: 0)"
    )
    parser.add_argument(
        "--starts", type=int, default=1, metavar="N", help="random starting points (default: 1)"
    )
    parser.add_argument(
        "--lengths",
        type=Path,
        metavar="FILE",
        help="an Azure trace whose request lengths a trace without any takes (default: log-normal)",
    )
    parser.add_argument("--seed", type=int, default=0, help="of everything random (default: 0)")
    parser.add_argument(
        "--routing",
        choices=["least-loaded", "random"],
        default="least-loaded",
        help="how requests find pods (default: least-loaded)",
    )
    parser.add_argument(
        "--batch", type=int, default=64, help="requests in flight per pod (default: 64)"
    )
    parser.add_argument(
        "--replicas", default="1-40", metavar="MIN-MAX", help="bounds (default: 1-40)"
    )
    parser.add_argument(
        "--first-token", type=float, default=2.0, metavar="S", help="bound, seconds (default: 2)"
    )
    parser.add_argument(
        "--inter-token", type=float, default=75.0, metavar="MS", help="bound, ms (default: 75)"
    )
    parser.add_argument(
        "--fault",
        action="append",
        default=[],
        metavar="KIND:BEGIN:SECONDS[:AMOUNT]",
        help="what goes wrong, and when (seconds of the run); may be given again. Kinds: "
        "metrics-gone, metrics-stale, metrics-nan, prometheus-down, pods-crash, quota, "
        "slow-engine",
    )
    parser.add_argument(
        "--alerts",
        action="store_true",
        help="batchfleet also has alert actions, enforced: slow tokens shrink the batch",
    )
    parser.add_argument("--plot", type=Path, metavar="FILE.svg", help="draw it, too")


def description() -> str:
    """The help's text with all policies."""
    rows = [
        f"  {entry.name:<11} [{entry.default:g}] {entry.meaning}" for entry in catalogue.ENTRIES
    ]
    return HELP + "\n".join(rows) + "\n"
