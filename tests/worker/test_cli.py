"""The command line: it shows how it is used, and says in one sentence what it cannot use."""

from __future__ import annotations

import socket
import sys

import pytest

from batchfleet_worker.cli import main


def call(*arguments: str) -> int:
    """The exit status, whichever way it ends."""
    with pytest.raises(SystemExit) as ended:
        sys.exit(main(list(arguments)))
    assert isinstance(ended.value.code, int)
    return ended.value.code


def test_the_version_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert call("--version") == 0
    assert capsys.readouterr().out == "batchfleet-worker 0.1.0\n"


@pytest.mark.parametrize("command", ["sidecar", "simulate"])
def test_help_shows_how_it_is_used_and_what_the_exit_status_says(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(command, "--help") == 0
    said = capsys.readouterr().out
    assert f"\n  batchfleet-worker {command}" in said
    assert "Exit status: 0" in said


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "the following arguments are required: COMMAND"),
        (["sidecarr"], "invalid choice: 'sidecarr' (choose from 'sidecar', 'simulate')"),
        (["simulate", "--port", "99999"], "argument --port: 99999 is not a port"),
        (["simulate", "--port", "http"], "argument --port: http is not a whole number"),
        (["simulate", "--step-ms", "x"], "argument --step-ms: x is not a number"),
        (["simulate", "--step-ms", "nan"], "nan is not a finite number of at least 0"),
        (["simulate", "--stall"], "unrecognized arguments: --stall"),
    ],
)
def test_wrong_use_is_named(
    arguments: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(*arguments) == 2
    assert says in capsys.readouterr().err


def test_a_port_that_is_taken_ends_the_simulator_with_one_sentence(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        assert call("simulate", "--port", str(taken.getsockname()[1])) == 1
    (said,) = capsys.readouterr().err.splitlines()
    assert said.startswith("batchfleet-worker simulate: cannot listen: ")
