"""The command line: what it prints, and what it says to what it cannot use."""

from __future__ import annotations

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
        ("service.yaml", "kind: Deployment", "kind is 'Deployment', not BatchInferenceService"),
        ("service.yaml", "kind: BatchInferenceService", "metadata.name is missing"),
        ("service.yaml", "[]", "holds list, not one YAML mapping"),
        ("service.yaml", "a: [", "not YAML"),
        ("observed.yaml", "object: []", "'object' is not one of now, afresh, kinds"),
        ("observed.yaml", "workers: {u: {draining: maybe}}", "workers.u.settings_hash"),
        ("config.yaml", "image: {}", "image: Extra inputs are not permitted"),
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


def test_what_is_missing_is_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    assert call("plan") == 2
    assert "plan needs -f service.yaml, or --all" in capsys.readouterr().err
    assert call("plan", "-f", "/nowhere.yaml") == 2
    assert "/nowhere.yaml: No such file or directory" in capsys.readouterr().err


def test_a_machine_without_a_cluster_is_told_so(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))
    assert call("plan", "--all") == 1
    assert "no cluster to talk to" in capsys.readouterr().err


def test_version_and_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert call("--version") == 0
    assert capsys.readouterr().out == "batchfleet-operator 0.1.0\n"
    assert call("plan", "--help") == 0
    assert "--observed observed.yaml" in capsys.readouterr().out
