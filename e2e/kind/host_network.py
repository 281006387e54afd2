"""What a Docker engine changes in the host's network, and how it is taken back.

dockerd turns on IP forwarding, sets the FORWARD policy and leaves its chains behind when it ends;
one that was killed leaves its bridges and their rules as well. `remember` notes the state before it
starts, `restore` takes away what is Docker's and keeps what others have added since.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping
from pathlib import Path

from e2e.kind import steps

_FORWARDING = Path("/proc/sys/net/ipv4/ip_forward")
_FAMILIES = {"iptables": "ip", "ip6tables": "ip6"}


def remember(path: Path, env: Mapping[str, str]) -> None:
    """Write the state of forwarding, bridges, policies and tables to `path`."""
    state = {
        "bridges": _bridges(),
        "ip_forward": _FORWARDING.read_text().strip(),
        "policies": {tool: _forward_policy(_saved(tool, env)) for tool in _FAMILIES},
        "tables": _nft_tables(env),
    }
    path.write_text(json.dumps(state))


def restore(path: Path, env: Mapping[str, str]) -> None:
    """Undo what Docker did since `remember` wrote `path`."""
    state = json.loads(path.read_text())
    log = path.with_suffix(".log")
    bridges = set(_bridges()) - set(state["bridges"])
    for bridge in bridges:
        steps.run(["ip", "link", "delete", bridge], log=log, timeout_seconds=30, env=env)
    for tool, family in _FAMILIES.items():
        saved = _saved(tool, env)
        if not saved:
            continue
        steps.run(
            [f"{tool}-restore"],
            stdin=without_docker(saved, bridges, state["policies"][tool]),
            log=log,
            timeout_seconds=30,
            env=env,
        )
        for table in _tables_without_rules(_saved(tool, env)):
            # A table that iptables made for Docker stays as a set of empty chains.
            name = f"{family} {table}"
            if name in _nft_tables(env) and name not in state["tables"]:
                steps.run(
                    ["nft", "delete", "table", family, table], log=log, timeout_seconds=30, env=env
                )
    _FORWARDING.write_text(state["ip_forward"])


def without_docker(saved: str, bridges: Collection[str], forward_policy: str) -> str:
    """The output of iptables-save without the chains and rules of Docker and its `bridges`."""
    lines = []
    table = ""
    for line in saved.splitlines():
        if line.startswith("*"):
            table = line[1:]
        if table == "filter" and line.startswith(":FORWARD "):
            lines.append(f":FORWARD {forward_policy} [0:0]")
        elif not any(mark in line for mark in ("DOCKER", *bridges)):
            lines.append(line)
    return "\n".join(lines) + "\n"


def _bridges() -> list[str]:
    """The bridges that have names as Docker gives them."""
    return [path.name for path in Path("/sys/class/net").glob("br-" + "[0-9a-f]" * 12)]


def _forward_policy(saved: str) -> str:
    """FORWARD's policy in the filter table of an iptables-save output; ACCEPT if there is none."""
    filter_table = re.search(r"^\*filter$(.*?)^COMMIT$", saved, re.M | re.S)
    policy = re.search(r"^:FORWARD (\w+)", filter_table.group(1), re.M) if filter_table else None
    return policy.group(1) if policy else "ACCEPT"


def _tables_without_rules(saved: str) -> list[str]:
    tables = re.findall(r"^\*(\w+)$(.*?)^COMMIT$", saved, re.M | re.S)
    return [name for name, body in tables if not re.search(r"^(-A |:\S+ DROP)", body, re.M)]


def _saved(tool: str, env: Mapping[str, str]) -> str:
    return steps.read([f"{tool}-save"], env=env) or ""


def _nft_tables(env: Mapping[str, str]) -> list[str]:
    listed = steps.read(["nft", "list", "tables"], env=env) or ""
    return [line.removeprefix("table ").strip() for line in listed.splitlines()]
