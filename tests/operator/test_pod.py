"""The pod that a revision is rendered to."""

from __future__ import annotations

from typing import Any

from batchfleet_operator import pod
from batchfleet_operator.api import Spec
from batchfleet_operator.config import Config
from batchfleet_operator.decision import Object


def template(config: dict[str, Any] | None = None, **spec: Any) -> Object:
    wanted = Spec.parse({"engine": {"type": "vLLM", "model": "m"}, **spec})
    return pod.template("chat", 3, wanted, Config.parse(config or {}))


def containers(made: Object) -> tuple[Object, Object]:
    (sidecar,) = made["spec"]["initContainers"]
    (engine,) = made["spec"]["containers"]
    assert (sidecar["name"], engine["name"]) == ("sidecar", "engine")
    return sidecar, engine


def test_the_sidecar_is_up_before_the_engine_and_gone_after_it() -> None:
    sidecar, _ = containers(template())
    assert sidecar["restartPolicy"] == "Always"
    assert sidecar["startupProbe"]["httpGet"]["path"] == "/livez"  # only itself: no deadlock


def test_a_leaving_pod_has_time_for_its_drain() -> None:
    made = template(requests={"timeoutSeconds": 600})
    assert made["spec"]["terminationGracePeriodSeconds"] == 10 + 600 + 30
    sidecar, engine = containers(made)
    assert {"name": "BATCHFLEET_DRAIN_TIMEOUT_SECONDS", "value": "600"} in sidecar["env"]
    assert engine["lifecycle"] == {"preStop": {"httpGet": {"path": "/drain", "port": 9090}}}


def test_a_probe_that_kills_the_engine_does_not_wait_for_the_drain() -> None:
    _, engine = containers(template())
    for name in ("startupProbe", "livenessProbe"):
        assert engine[name]["terminationGracePeriodSeconds"] == 10
        assert engine[name]["httpGet"] == {"path": "/engine/livez", "port": 9090}


def test_probes_are_patient() -> None:
    _, engine = containers(template())
    startup, liveness = engine["startupProbe"], engine["livenessProbe"]
    assert startup["periodSeconds"] * startup["failureThreshold"] >= 600
    assert liveness["periodSeconds"] * liveness["failureThreshold"] >= 60
    assert liveness["timeoutSeconds"] >= 5


def test_the_sidecar_meets_the_restricted_pod_security_standard() -> None:
    made = template()
    sidecar, _ = containers(made)
    context = sidecar["securityContext"]
    assert context["runAsNonRoot"]
    assert context["runAsUser"] > 0
    assert context["readOnlyRootFilesystem"]
    assert not context["allowPrivilegeEscalation"]
    assert context["capabilities"] == {"drop": ["ALL"]}
    assert made["spec"]["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert made["spec"]["automountServiceAccountToken"] is False


def test_what_vllm_needs_of_a_pod() -> None:
    made = template()
    assert made["spec"]["enableServiceLinks"] is False
    _, engine = containers(made)
    (mount,) = [each for each in engine["volumeMounts"] if each["mountPath"].endswith("/shm")]
    (volume,) = [each for each in made["spec"]["volumes"] if each["name"] == mount["name"]]
    assert volume["emptyDir"] == {"medium": "Memory"}


def test_the_sidecar_finds_a_custom_engine_and_its_own_settings() -> None:
    custom = {"type": "Custom", "image": "img", "command": ["serve"], "port": 9000}
    made = template(engine=custom)
    sidecar, _ = containers(made)
    found = {each["name"]: each["value"] for each in sidecar["env"]}
    assert found["BATCHFLEET_UPSTREAM"] == "http://127.0.0.1:9000"
    (mount,) = sidecar["volumeMounts"]
    assert found["BATCHFLEET_LIVE_SETTINGS"] == f"{mount['mountPath']}/settings.json"
    (volume,) = [each for each in made["spec"]["volumes"] if each["name"] == mount["name"]]
    assert volume["configMap"] == {"name": "chat-3-live"}


def test_the_users_template_lies_over_the_clusters_over_ours() -> None:
    config = {
        "serviceDefaults": {
            "podTemplate": {"spec": {"priorityClassName": "low", "nodeSelector": {"zone": "a"}}},
            "imagePullSecrets": [{"name": "registry"}],
        }
    }
    mine = {
        "metadata": {"annotations": {"team": "chat"}},
        "spec": {"priorityClassName": "high", "containers": [{"name": "engine", "tty": True}]},
    }
    made = template(config, podTemplate=mine)
    assert made["spec"]["priorityClassName"] == "high"
    assert made["spec"]["nodeSelector"] == {"zone": "a"}
    assert made["spec"]["imagePullSecrets"] == [{"name": "registry"}]
    assert made["metadata"]["annotations"]["team"] == "chat"
    _, engine = containers(made)
    assert engine["tty"]
    assert engine["args"]


def test_images_are_those_of_the_merged_pod() -> None:
    made = template(podTemplate={"spec": {"containers": [{"name": "engine", "image": "mine"}]}})
    assert pod.images(made)["engine"] == "mine"
    nonsense = template(podTemplate={"spec": {"containers": "nonsense"}})
    assert set(pod.images(nonsense)) == {"worker"}


def test_the_sidecars_resources_are_the_users_where_given() -> None:
    sidecar, _ = containers(template(worker={"resources": {"requests": {"cpu": "1"}}}))
    assert sidecar["resources"] == {"requests": {"cpu": "1"}}
