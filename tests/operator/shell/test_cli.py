"""The command line: what it prints, and what it says to what it cannot use."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import pytest
import yaml

from batchfleet_operator import cli
from batchfleet_operator.decision import fingerprint

SERVICE = """
apiVersion: batchfleet.io/v1alpha1
kind: BatchInferenceService
metadata: {name: chat, namespace: team}
spec:
  engine: {type: vLLM, model: Qwen/Qwen3-8B}
"""


EXAMPLES = sorted((Path(__file__).parents[3] / "examples").glob("*.yaml"))


def call(*arguments: str | Path) -> int:
    with pytest.raises(SystemExit) as ended:
        cli.main([str(argument) for argument in arguments])
    assert isinstance(ended.value.code, int)
    return ended.value.code


@pytest.fixture
def service(tmp_path: Path) -> Path:
    path = tmp_path / "service.yaml"
    path.write_text(SERVICE)
    return path


def test_a_plan_needs_no_cluster(service: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("plan", "-f", service) == 0
    plan = yaml.safe_load(capsys.readouterr().out)
    assert plan["dry_run"]["kind"] == "Deployment"
    assert plan["dry_run"]["metadata"]["namespace"] == "team"


def test_a_plan_knows_what_was_observed_and_configured(
    service: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    call("plan", "-f", service)
    tried = yaml.safe_load(capsys.readouterr().out)["dry_run"]
    observed = tmp_path / "observed.yaml"
    verdict = {"fingerprint": fingerprint(tried), "message": None}
    observed.write_text(yaml.safe_dump({"now": "2026-01-02T03:04:05Z", "verdict": verdict}))
    config = tmp_path / "config.yaml"
    config.write_text("networkPolicy: {enabled: false}")
    assert call("plan", "-f", service, "--observed", observed, "--config", config) == 0
    plan = yaml.safe_load(capsys.readouterr().out)
    kinds = {object_["kind"] for object_ in plan["apply"]}
    assert "Deployment" in kinds
    assert "NetworkPolicy" not in kinds
    (at,) = {condition["lastTransitionTime"] for condition in plan["status"]["conditions"]}
    assert at == "2026-01-02T03:04:05Z"


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("service.yaml", "kind: Deployment", "holds Deployment, and no BatchInferenceService"),
        ("service.yaml", "kind: BatchInferenceService", "metadata.name is missing"),
        ("service.yaml", SERVICE.partition("spec:")[0], "chat has no spec"),
        ("service.yaml", "", "is empty"),
        ("service.yaml", "[]", "holds list, not one YAML mapping"),
        ("service.yaml", "a: [", "not YAML"),
        ("observed.yaml", "object: []", "did you mean objects?"),
        ("observed.yaml", "{}\n---\n{}", "holds 2 YAML documents, not one"),
        ("observed.yaml", "workers: {u: {draining: maybe}}", "workers.u.settings_hash"),
        ("config.yaml", "image: {}", "image: there is no such field; did you mean images?"),
        ("config.yaml", "monitoring: {prometheus: {urll: x}}", "did you mean url?"),
    ],
)
def test_a_file_that_cannot_be_used_is_named_in_one_sentence(
    service: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    name: str,
    text: str,
    says: str,
) -> None:
    others = {"observed.yaml": "{}", "config.yaml": "{}"}
    for other, content in {**others, name: text}.items():
        (tmp_path / other).write_text(content)
    files = ("--observed", tmp_path / "observed.yaml", "--config", tmp_path / "config.yaml")
    assert call("plan", "-f", service, *files) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"batchfleet-operator: {tmp_path / name}: ")
    assert says in said


def test_a_file_that_is_not_text_is_refused_in_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "service.yaml"
    path.write_bytes(b"\xff\xfe\x00")
    assert call("plan", "-f", path) == 2
    assert capsys.readouterr().err.startswith(f"batchfleet-operator: {path}: not YAML: ")


def test_every_service_of_a_file_is_planned_and_other_kinds_are_passed_over(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "all.yaml"
    other = SERVICE.replace("chat", "embed")
    path.write_text("---\n".join(("kind: Secret\n", SERVICE, other)))
    assert call("plan", "-f", path) == 0
    plans = yaml.safe_load_all(capsys.readouterr().out)
    labels = [plan["dry_run"]["metadata"]["labels"]["batchfleet.io/service"] for plan in plans]
    assert labels == ["chat", "embed"]
    assert call("plan", "-f", path, "--observed", path) == 2


def test_a_service_may_come_from_standard_input(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO(SERVICE))
    assert call("plan", "-f", "-") == 0
    assert yaml.safe_load(capsys.readouterr().out)["dry_run"]["kind"] == "Deployment"


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ("  batching: {maxBatchsize: 4}", "spec.batching.maxBatchsize: there is no such field; did"
         " you mean maxBatchSize?"),
        ("  batching: {modelLimits: [{modle: a, model: a, maxBatchSize: 1}]}",
         "spec.batching.modelLimits.0.modle: there is no such field; did you mean model?"),
        ("  merging: {mode: observe}", "spec.merging.mode: is 'observe'; one of Disabled, Observe,"
         " Enforce; did you mean Observe?"),
        ("  autoscaling: {minReplicas: 1}", "spec.autoscaling.maxReplicas: is missing"),
    ],
)  # fmt: skip
def test_a_misspelt_service_fails_with_what_was_meant(
    service: Path, capsys: pytest.CaptureFixture[str], wrong: str, says: str
) -> None:
    service.write_text(f"{SERVICE}{wrong}\n")
    assert call("plan", "-f", service) == 1
    told = capsys.readouterr()
    assert told.err == f"batchfleet-operator: {service}: chat: {says}\n"
    assert "InvalidSpec" in told.out  # the plan is what a cluster would show


def test_another_api_version_is_told_apart(
    service: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    service.write_text(SERVICE.replace("v1alpha1", "v1"))
    assert call("plan", "-f", service) == 1
    assert "apiVersion: is batchfleet.io/v1, not batchfleet.io/v1alpha1" in capsys.readouterr().err


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.name)
def test_every_example_with_a_service_can_be_planned(
    example: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ours = "kind: BatchInferenceService" in example.read_text()
    assert call("plan", "-f", example) == (0 if ours else 2)
    told = capsys.readouterr()
    if ours:
        assert told.err == ""
        assert all(plan["dry_run"] for plan in yaml.safe_load_all(told.out))
    else:
        assert "and no BatchInferenceService" in told.err


@pytest.mark.parametrize("port", ["0", "99999", "http"])
def test_a_port_is_a_port(port: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("run", "--health-port", port) == 2
    assert f"{port} is not a port" in capsys.readouterr().err


def test_what_is_missing_is_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    assert call("plan") == 2
    assert "plan needs -f service.yaml, or --all" in capsys.readouterr().err
    assert call("plan", "-f", "x.yaml", "--namespace", "team") == 2
    assert "--namespace goes with --all" in capsys.readouterr().err
    assert call("plan", "-f", "/nowhere.yaml") == 2
    assert "/nowhere.yaml: No such file or directory" in capsys.readouterr().err


def test_a_machine_without_a_cluster_is_told_so(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))
    assert call("plan", "--all") == 1
    said = capsys.readouterr().err
    assert "no cluster to talk to: this is no pod, and $KUBECONFIG" in said


def test_version_and_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert call("--version") == 0
    assert capsys.readouterr().out == "batchfleet-operator 0.1.0\n"
    assert call("plan", "--help") == 0
    assert "--observed observed.yaml" in capsys.readouterr().out


@pytest.mark.parametrize("command", ["run", "plan"])
def test_help_shows_how_it_is_used_and_what_the_exit_status_says(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(command, "--help") == 0
    said = capsys.readouterr().out
    assert f"\n  batchfleet-operator {command} " in said
    assert "Exit status: 0" in said
