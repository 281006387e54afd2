"""What a Docker engine left in the firewall goes; what others put there stays."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from e2e.kind.host_network import without_docker

BRIDGE = "br-0123456789ab"
OTHERS = ["-A INPUT -i lo -j ACCEPT", "-A FORWARD -s 10.0.0.0/8 -j ACCEPT", "-A FORWARD -j LOG"]
DOCKERS = [
    "-A FORWARD -j DOCKER-USER",
    f"-A FORWARD -o {BRIDGE} -j ACCEPT",
    ":DOCKER-ISOLATION-STAGE-1 - [0:0]",
]


def table(rules: list[str], policy: str) -> str:
    return "\n".join(["*filter", f":FORWARD {policy} [1:2]", *rules, "COMMIT", ""])


@given(st.lists(st.sampled_from(OTHERS + DOCKERS)))
def test_only_dockers_rules_go(rules: list[str]) -> None:
    kept = [rule for rule in rules if rule in OTHERS]
    restored = without_docker(table(rules, "DROP"), {BRIDGE}, "ACCEPT")
    assert restored == table(kept, "ACCEPT").replace("[1:2]", "[0:0]")


def test_the_policy_of_other_tables_stays() -> None:
    mangle = "*mangle\n:FORWARD DROP [0:0]\nCOMMIT\n"
    assert without_docker(mangle, set(), "ACCEPT") == mangle
