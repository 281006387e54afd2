"""`python3 -m e2e.kind`: the command line of the test cluster."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from pathlib import Path
from types import FrameType

from e2e.kind import binaries, cluster, images, steps
from e2e.kind.controlplane import ControlPlane


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python3 -m e2e.kind", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)

    build = commands.add_parser("build", help="compile programs into the cache, print their paths")
    build.add_argument(
        "programs",
        nargs="+",
        metavar="NAME",
        choices=[*binaries.NAMES, *binaries.SETS],
        help=", ".join([*binaries.NAMES, *binaries.SETS]),
    )

    made = commands.add_parser("images", help="make images of our pods, print their archives")
    made.add_argument("images", nargs="+", choices=images.NAMES, metavar="NAME")

    named = argparse.ArgumentParser(add_help=False)
    named.add_argument("--name", default=cluster.DEFAULT_NAME, help="default: %(default)s")

    up = commands.add_parser("up", parents=[named], help="start the cluster, unless it is up")
    up.add_argument("--kubeconfig", type=Path, help="copy the kubeconfig to this path as well")
    commands.add_parser("down", parents=[named], help="take the cluster and all its traces away")
    commands.add_parser("status", parents=[named], help="say what runs")
    commands.add_parser("kubeconfig", parents=[named], help="print the kubeconfig's path")
    load = commands.add_parser("load", parents=[named], help="import image archives")
    load.add_argument("archives", nargs="+", type=Path, metavar="ARCHIVE")
    kubectl = commands.add_parser("kubectl", parents=[named], help="run kubectl on the cluster")
    kubectl.add_argument("arguments", nargs=argparse.REMAINDER)

    plane = commands.add_parser("control-plane", help="a control plane without containers")
    plane.add_argument("verb", choices=["up", "down"])
    plane.add_argument("--name", default="default", help="default: %(default)s")
    return parser


def _run(options: argparse.Namespace) -> None:
    match options.command:
        case "build":
            names = [n for given in options.programs for n in binaries.SETS.get(given, (given,))]
            for program in binaries.ensure(names).values():
                print(program)
        case "images":
            for name in options.images:
                print(images.build(name), flush=True)
        case "up":
            print(cluster.up(options.name, options.kubeconfig))
        case "down":
            cluster.down(options.name)
        case "status":
            print(cluster.status(options.name))
        case "kubeconfig":
            print(cluster.kubeconfig(options.name))
        case "load":
            cluster.load(options.archives, options.name)
        case "kubectl":
            kubectl = binaries.path("kubectl")
            kubeconfig = str(cluster.kubeconfig(options.name))
            command = ["kubectl", "--kubeconfig", kubeconfig, *options.arguments]
            os.execv(kubectl, command)  # noqa: S606 - no shell is wanted
        case "control-plane":
            plane = ControlPlane(options.name)
            if options.verb == "up":
                print(plane.up())
            else:
                plane.down()


def _interrupt(signal_number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def main() -> int:
    signal.signal(signal.SIGTERM, _interrupt)  # so that what was started is taken down
    try:
        _run(_parser().parse_args())
    except steps.SetupError as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
