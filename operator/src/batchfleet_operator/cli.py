"""The command line: ``run`` the operator, ask what it would do (``plan``), or replay a trace.

``plan`` is a support tool and a way to learn.  From files it needs no cluster and writes nothing;
``plan --all`` asks a cluster, by dry runs only, what an operator of this version and configuration
would change there, before an upgrade for example.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import socket
import sys
import uuid
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, NoReturn

from batchfleet_operator import documents
from batchfleet_operator.decision import plan_as_yaml
from batchfleet_operator.plan import plan
from batchfleet_operator.simulate import command as simulate
from batchfleet_operator.simulate import options as simulate_options

PROGRAM = "batchfleet-operator"
VERSION = version(PROGRAM)
NAMESPACE_FILE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")

OK = 0
FAILED = 1
MISUSED = 2

RUN_HELP = """\
Watch BatchInferenceServices and keep their children as they ask for.

Talks to the cluster that it runs in, or to that of $KUBECONFIG (~/.kube/config). Waits for its
CRD and for the Lease 'batchfleet-operator'; ends when it loses the Lease, so run it where it is
started again. SIGTERM ends it cleanly; running pods do not notice.

  batchfleet-operator run --lease-namespace default --log-level DEBUG     # from your own machine
  batchfleet-operator run --namespace team-a --namespace team-b --config config.yaml

config.yaml is what the chart makes of its values: helm template helm/batchfleet --show-only
templates/configmap.yaml shows it.

Exit status: 0 when told to stop, 1 without a cluster or Lease, 2 for wrong use.
"""

HELP = """\
The operator of batchfleet: batching inference fleets on Kubernetes.

  batchfleet-operator plan -f examples/gpu.yaml           what would it make of it? Needs no cluster
  batchfleet-operator plan --all                          what would it change in my cluster?
  batchfleet-operator simulate --trace synthetic:burst    which autoscaling policy, at which price?
  batchfleet-operator run                                 be the operator; the chart does this

Each command has its own --help.
"""

PLAN_HELP = """\
Print what the operator would do for one service, as YAML, without a cluster:

  batchfleet-operator plan -f service.yaml
  helm template my-chart | batchfleet-operator plan -f -
  batchfleet-operator plan -f service.yaml --observed observed.yaml

Objects of other kinds in the file are passed over. Rules over several fields, and what an admission
policy refuses, only an API server knows: kubectl apply --dry-run=server.

observed.yaml says what the cluster has, all of it optional:
  now: 2026-01-01T00:00:00Z        # default: now
  objects: [...]                   # children and pods, as kubectl get -o yaml prints them
  workers: {POD-UID: {settings_hash: ..., settings_error: ..., draining: false, in_flight: 0}}
  kinds: [PodMonitor]              # optional kinds that the cluster serves
  namespace: {batchfleet.io/automation: paused}   # annotations of the service's namespace
  watched:                         # what Prometheus said, oldest first; left out: none is asked
    since: 2026-01-01T00:00:00Z
    signals: [{at: 2026-01-01T00:10:00Z, offered_per_second: 2.5, in_flight: 12, queued: 0}]
    readings: {slow-tokens: [{at: 2026-01-01T00:10:00Z, value: 0.09, samples: 400}]}
  afresh: true                     # false: some of workers may be old
  verdict: {fingerprint: ..., message: ...}   # what a dry run of the plan's dry_run said

Or ask the cluster of $KUBECONFIG what this version and configuration would change in it. Only
reads and dry runs are sent:

  batchfleet-operator plan --all [--namespace NS ...]

Exit status: 0, 1 where a spec cannot be read or the cluster not be asked, 2 for wrong use.
"""


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """The entry point.  Exits with 0: done or told to stop, 1: failed, 2: misused."""
    options = _parser().parse_args(arguments)
    try:
        code = options.command(options)
    except documents.DocumentError as error:
        print(f"{PROGRAM}: {error}", file=sys.stderr)
        code = MISUSED
    except (asyncio.CancelledError, KeyboardInterrupt):
        code = OK
    sys.exit(code)


def _run(options: argparse.Namespace) -> int:
    # Not at the top of the file: the clients take longer to load than a plan takes to make.
    from batchfleet_operator import process
    from batchfleet_operator.errors import ClusterError
    from batchfleet_operator.lease import LeaseLostError
    from batchfleet_operator.metrics import Metrics

    logging.basicConfig(
        level=options.log_level, format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    logging.getLogger("kopf").setLevel(logging.WARNING)  # it tells of every handler's success
    log = logging.getLogger(PROGRAM)
    config = documents.config(options.config)
    chosen = process.Options(
        namespaces=options.namespace,
        lease_namespace=options.lease_namespace or _own_namespace(),
        identity=os.environ.get("POD_NAME") or f"{socket.gethostname()}-{uuid.uuid4().hex[:8]}",
        health_port=options.health_port,
        metrics_port=options.metrics_port,
        webhook_port=options.webhook_port,
    )
    log.info("version %s, for %s", VERSION, ", ".join(chosen.namespaces) or "all namespaces")
    ended_by: list[BaseException] = []
    try:
        asyncio.run(process.run(chosen, config, Metrics(VERSION)))
    except* (LeaseLostError, ClusterError, OSError) as group:
        ended_by += _leaves(group)
    for error in ended_by:
        log.error("%s", error)
    return FAILED if ended_by else OK


def _plan(options: argparse.Namespace) -> int:
    if options.all:
        return asyncio.run(_survey(options))
    if options.file is None:
        raise documents.DocumentError("plan needs -f service.yaml, or --all for a whole cluster")
    if options.namespace:
        raise documents.DocumentError("--namespace goes with --all; a file names its own")
    observed, now = documents.observed(options.observed)
    config = documents.config(options.config)
    services = documents.services(options.file)
    if options.observed and len(services) > 1:
        raise documents.DocumentError(f"--observed is about one service, {options.file} has more")
    code = OK
    for service in services:
        name = service["metadata"]["name"]
        if len(services) > 1:
            print(f"---\n# {name}")
        print(plan_as_yaml(plan(service, observed, config, now)), end="")
        for fault in documents.faults(service):
            print(f"{PROGRAM}: {options.file}: {name}: {fault}", file=sys.stderr)
            code = FAILED
    return code


async def _survey(options: argparse.Namespace) -> int:
    from batchfleet_operator.cluster import Cluster
    from batchfleet_operator.errors import ClusterError
    from batchfleet_operator.survey import survey

    config = documents.config(options.config)
    try:
        cluster = await Cluster.connect()
        try:
            told = await survey(cluster, options.namespace, config, datetime.now(UTC))
        finally:
            await cluster.close()
    except ClusterError as error:
        print(f"{PROGRAM}: {error}", file=sys.stderr)
        return FAILED
    print("\n".join(told or ["no services"]))
    return OK


def _own_namespace() -> str:
    """Where a pod runs; elsewhere ``default``."""
    given = os.environ.get("POD_NAMESPACE")
    if given:
        return given
    return NAMESPACE_FILE.read_text() if NAMESPACE_FILE.exists() else "default"


def _port(text: str) -> int:
    if not (text.isdecimal() and 0 < int(text) < 65536):
        raise argparse.ArgumentTypeError(f"{text} is not a port (1 to 65535)")
    return int(text)


def _leaves(group: BaseExceptionGroup[BaseException]) -> Iterator[BaseException]:
    for error in group.exceptions:
        if isinstance(error, BaseExceptionGroup):
            yield from _leaves(error)
        else:
            yield error


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        PROGRAM, description=HELP, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--version", action="version", version=f"{PROGRAM} {VERSION}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    run = _command(commands, "run", "be the operator", RUN_HELP)
    run.add_argument(
        "--lease-namespace",
        metavar="NS",
        help="where the Lease lives (default: the pod's own namespace)",
    )
    for name, path, port in (("health", "/healthz", 8081), ("metrics", "/metrics", 8082)):
        run.add_argument(
            f"--{name}-port",
            type=_port,
            default=port,
            metavar="PORT",
            help=f"GET {path} (default: {port})",
        )
    run.add_argument(
        "--webhook-port",
        type=_port,
        metavar="PORT",
        help="POST /alerts makes it ask Prometheus at once (default: nothing listens)",
    )
    run.add_argument(
        "--log-level",
        choices=["DEBUG", "INFO", "WARNING", "ERROR"],
        default="INFO",
        help="(default: INFO)",
    )
    run.set_defaults(command=_run)

    plan = _command(commands, "plan", "print what the operator would do", PLAN_HELP)
    plan.add_argument(
        "-f", "--file", type=Path, metavar="FILE", help="services, as YAML; - for standard input"
    )
    plan.add_argument("--observed", type=Path, metavar="FILE", help="what the cluster has, as YAML")
    plan.add_argument("--all", action="store_true", help="ask the cluster about all its services")
    plan.set_defaults(command=_plan)

    simulate.add(
        commands.add_parser(
            "simulate",
            help="replay request traces against autoscaling policies",
            description=simulate_options.description(),
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
    )
    return parser


def _command(commands: Any, name: str, summary: str, description: str) -> argparse.ArgumentParser:
    command: argparse.ArgumentParser = commands.add_parser(
        name,
        help=summary,
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command.add_argument(
        "--namespace",
        action="append",
        default=[],
        metavar="NS",
        help="only services of this namespace; may be given again (default: all namespaces)",
    )
    command.add_argument(
        "--config", type=Path, metavar="FILE", help="the operator's configuration, as YAML"
    )
    return command
