"""Who may connect, who is asked for keys, and the way past the sidecars, over whole rollouts."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from batchfleet_operator import names
from batchfleet_operator.config import Config, NetworkPolicyConfig
from batchfleet_operator.decision import Object, Observed
from batchfleet_operator.plan import SLOWEST_LOOK_SECONDS, plan
from tests.operator.simulated import SimulatedCluster, condition, service

GATEWAY = {"podLabels": {"app": "gateway"}}
BEHIND_GATEWAY = {
    "type": "TrustedHeader",
    "trustedHeader": {"name": "X-Tenant", "from": [GATEWAY]},
}
KEYS = {"type": "APIKeys", "apiKeys": {"secretName": "chat-keys"}}
ASKED = {names.ANNOTATION_BYPASS: "true"}


def admitted(cluster: SimulatedCluster, port: int = names.PORT_HTTP) -> Any:
    """Who reaches a port: peers, None for anybody, False for nobody."""
    policy = cluster.children["NetworkPolicy", "chat"]["spec"]
    for rule in policy["ingress"]:
        if port in {each["port"] for each in rule["ports"]}:
            return rule.get("from")
    return False


def target_port(cluster: SimulatedCluster) -> int:
    (port,) = cluster.children["Service", "chat"]["spec"]["ports"]
    return int(port["targetPort"])


def revisions(cluster: SimulatedCluster) -> set[str]:
    return {name for kind, name in cluster.children if kind == names.CONTROLLER_REVISION.kind}


def has_condition(cluster: SimulatedCluster, type_: str) -> bool:
    return type_ in {each["type"] for each in cluster.parent["status"]["conditions"]}


# Who may connect ----------------------------------------------------------------------------------


def test_only_the_gateway_reaches_pods_that_believe_its_header() -> None:
    cluster = SimulatedCluster(service(access=BEHIND_GATEWAY))
    cluster.settle()
    assert admitted(cluster) == [{"podSelector": {"matchLabels": {"app": "gateway"}}}]
    assert admitted(cluster, names.PORT_ENGINE) is False


def test_another_gateway_restarts_nothing_and_another_header_does() -> None:
    cluster = SimulatedCluster(service(access=BEHIND_GATEWAY))
    cluster.settle()
    peer = {"namespaceLabels": {"team": "edge"}, "podLabels": {"app": "envoy"}}
    header = {"name": "X-Tenant", "from": [peer]}
    cluster.change(access={"type": "TrustedHeader", "trustedHeader": header})
    cluster.settle()
    assert revisions(cluster) == {"chat-1"}
    assert admitted(cluster) == [
        {
            "namespaceSelector": {"matchLabels": {"team": "edge"}},
            "podSelector": {"matchLabels": {"app": "envoy"}},
        }
    ]
    header = {"name": "X-Other", "from": [peer]}
    cluster.change(access={"type": "TrustedHeader", "trustedHeader": header})
    cluster.settle()
    assert revisions(cluster) == {"chat-1", "chat-2"}


def test_the_door_opens_when_the_last_pod_that_believes_a_header_is_gone() -> None:
    cluster = SimulatedCluster(service(access=BEHIND_GATEWAY, replicas=2))
    cluster.settle()
    closed = admitted(cluster)
    cluster.change(access={"type": "Open"})
    seen = []
    for _ in range(20):
        cluster.reconcile()
        believers = [p for p in cluster.staying() if p["metadata"]["name"].startswith("chat-1-")]
        seen.append((bool(believers), admitted(cluster)))
        cluster.controllers()
        for pod in cluster.staying():
            cluster.get_ready(pod)
    assert (True, closed) in seen
    assert (True, None) not in seen
    assert seen[-1] == (False, None)


def test_the_door_closes_before_the_first_pod_believes_a_header() -> None:
    cluster = SimulatedCluster(service())
    cluster.settle()
    cluster.change(access=BEHIND_GATEWAY)
    cluster.reconcile()
    assert len(cluster.staying()) == 1
    assert admitted(cluster) == [{"podSelector": {"matchLabels": {"app": "gateway"}}}]


def test_a_header_that_nothing_guards_is_told() -> None:
    config = Config(network_policy=NetworkPolicyConfig(enabled=False))
    cluster = SimulatedCluster(service(access=BEHIND_GATEWAY), config=config)
    cluster.settle()
    ready = condition(cluster.parent, "Ready")
    assert (ready["status"], ready["reason"]) == ("False", names.HEADER_UNGUARDED)
    assert "X-Tenant" in ready["message"]
    assert any(each.reason == names.HEADER_UNGUARDED for each in cluster.events)


# Keys ---------------------------------------------------------------------------------------------


def keyless(cluster: SimulatedCluster, error: str | None) -> Observed:
    seen = cluster.observe()
    workers = {uid: replace(each, access_error=error) for uid, each in seen.workers.items()}
    return replace(seen, workers=workers)


def test_a_missing_secret_is_told_until_it_is_there() -> None:
    cluster = SimulatedCluster(service(access=KEYS))
    cluster.settle()
    assert condition(cluster.parent, "Ready")["status"] == "True"

    said = "/etc/batchfleet/keys holds no keys: every request is refused"
    told = plan(cluster.parent, keyless(cluster, said), cluster.config, cluster.now)
    ready = {each["type"]: each for each in told.status["conditions"]}["Ready"]
    assert (ready["status"], ready["reason"]) == ("False", names.API_KEYS_UNUSABLE)
    assert "Secret chat-keys" in ready["message"]
    assert said in ready["message"]
    assert [each.type for each in told.events] == ["Warning"]
    assert told.again_in_seconds == SLOWEST_LOOK_SECONDS  # no watch tells of a Secret

    cluster.parent["status"] = told.status
    mended = plan(cluster.parent, keyless(cluster, None), cluster.config, cluster.now)
    assert {each["type"]: each["status"] for each in mended.status["conditions"]}["Ready"] == "True"
    assert mended.again_in_seconds is None


def test_what_the_api_server_fills_in_restarts_nothing() -> None:
    # A service of the release before, and what it looks like once today's CRD is installed.
    cluster = SimulatedCluster(service())
    cluster.settle()
    settings = cluster.children["ConfigMap", "chat-1-live"]
    cluster.change(access={"type": "Open"}, batching={}, merging={"mode": "Enforce"}, requests={})
    cluster.settle()
    assert revisions(cluster) == {"chat-1"}
    assert cluster.children["ConfigMap", "chat-1-live"] == settings


def test_other_keys_are_other_pods() -> None:
    cluster = SimulatedCluster(service(access=KEYS))
    cluster.settle()
    cluster.change(access={"type": "APIKeys", "apiKeys": {"secretName": "others"}})
    cluster.settle()
    assert revisions(cluster) == {"chat-1", "chat-2"}


# Rates --------------------------------------------------------------------------------------------


def test_a_pod_more_is_a_smaller_share_for_each_and_restarts_none() -> None:
    limits = [{"scope": "Service", "requestsPerMinute": 600}]
    cluster = SimulatedCluster(service(requests={"rateLimits": limits}))
    cluster.settle()
    assert '"requestsPerMinute": 600.0' in live(cluster)
    cluster.change(replicas=3)
    cluster.settle()
    assert '"requestsPerMinute": 200.0' in live(cluster)
    assert revisions(cluster) == {"chat-1"}
    assert condition(cluster.parent, "SettingsApplied")["status"] == "True"


def live(cluster: SimulatedCluster) -> str:
    return str(cluster.children["ConfigMap", "chat-1-live"]["data"]["settings.json"])


# Past the sidecars --------------------------------------------------------------------------------


def annotate(cluster: SimulatedCluster, annotations: Object) -> None:
    cluster.parent["metadata"]["annotations"] = annotations


def test_the_annotation_leads_past_the_sidecars_and_back() -> None:
    cluster = SimulatedCluster(service(worker={"bypass": "Allowed"}))
    cluster.settle()
    assert target_port(cluster) == names.PORT_HTTP
    assert not has_condition(cluster, names.BYPASSED)
    assert admitted(cluster, names.PORT_ENGINE) is None

    annotate(cluster, ASKED)
    cluster.settle()
    assert target_port(cluster) == names.PORT_ENGINE
    told = condition(cluster.parent, names.BYPASSED)
    assert (told["status"], told["reason"]) == ("True", names.BY_ANNOTATION)
    assert [e.reason for e in cluster.events if e.reason == names.BY_ANNOTATION]
    assert revisions(cluster) == {"chat-1"}

    annotate(cluster, {})
    cluster.settle()
    assert target_port(cluster) == names.PORT_HTTP
    assert not has_condition(cluster, names.BYPASSED)


def test_where_it_is_not_allowed_the_annotation_says_why_nothing_happens() -> None:
    cluster = SimulatedCluster(service())
    annotate(cluster, ASKED)
    cluster.settle()
    assert target_port(cluster) == names.PORT_HTTP
    told = condition(cluster.parent, names.BYPASSED)
    assert (told["status"], told["reason"]) == ("False", names.BYPASS_NOT_ALLOWED)
    assert "worker.bypass is not Allowed" in told["message"]
    (event,) = [each for each in cluster.events if each.reason == names.BYPASS_NOT_ALLOWED]
    assert event.type == "Warning"
    assert condition(cluster.parent, "Ready")["status"] == "True"
    assert admitted(cluster, names.PORT_ENGINE) is False


def test_another_word_than_true_is_not_guessed_at() -> None:
    cluster = SimulatedCluster(service(worker={"bypass": "Allowed"}))
    annotate(cluster, {names.ANNOTATION_BYPASS: "yes"})
    cluster.settle()
    assert target_port(cluster) == names.PORT_HTTP
    assert 'write "true"' in condition(cluster.parent, names.BYPASSED)["message"]
    annotate(cluster, {names.ANNOTATION_BYPASS: "false"})
    cluster.settle()
    assert not has_condition(cluster, names.BYPASSED)


def test_clients_are_led_past_only_when_every_engine_listens_to_them() -> None:
    cluster = SimulatedCluster(service(replicas=2))
    cluster.settle()
    annotate(cluster, ASKED)
    cluster.change(worker={"bypass": "Allowed"})
    for _ in range(20):
        cluster.reconcile()
        deaf = [pod for pod in cluster.staying() if pod["metadata"]["name"].startswith("chat-1-")]
        if deaf:
            assert target_port(cluster) == names.PORT_HTTP
            told = condition(cluster.parent, names.BYPASSED)
            assert (told["status"], told["reason"]) == ("False", names.ROLLING_OUT)
        cluster.controllers()
        for pod in cluster.staying():
            cluster.get_ready(pod)
    assert target_port(cluster) == names.PORT_ENGINE
    cluster.change(worker={"bypass": "Disabled"})
    cluster.reconcile()  # before the first engine stops to listen
    assert target_port(cluster) == names.PORT_HTTP


def test_a_custom_engine_is_reached_where_it_listens() -> None:
    custom = {"type": "Custom", "image": "img", "command": ["serve"], "port": 9000}
    cluster = SimulatedCluster(service(engine=custom, worker={"bypass": "Allowed"}))
    annotate(cluster, ASKED)
    cluster.settle()
    assert target_port(cluster) == 9000
    assert admitted(cluster, 9000) is None


def test_paused_holds_the_way_as_it_is() -> None:
    cluster = SimulatedCluster(service(worker={"bypass": "Allowed"}))
    cluster.settle()
    cluster.change(paused=True)
    annotate(cluster, ASKED)
    cluster.settle()
    assert target_port(cluster) == names.PORT_HTTP
    assert condition(cluster.parent, names.BYPASSED)["reason"] == names.PAUSED
    cluster.change(paused=False)
    cluster.settle()
    assert condition(cluster.parent, names.BYPASSED)["status"] == "True"
