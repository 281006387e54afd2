"""Pages written by hand say what the code says."""

from __future__ import annotations

from pathlib import Path

from batchfleet_operator import names
from batchfleet_worker.access import parse as parse_keys
from batchfleet_worker.admin import PATHS
from batchfleet_worker.errors import (
    DRAINING,
    INVALID_API_KEY,
    QUEUE_FULL,
    TIMEOUT,
    missing_tenant,
)
from batchfleet_worker.live import LiveSettings, parse
from batchfleet_worker.settings import PREFIX, Settings

SIDECAR = (Path(__file__).parents[2] / "docs" / "sidecar.md").read_text()


def test_every_setting_of_the_sidecar_stands_in_the_table_with_its_default() -> None:
    for name, field in Settings.model_fields.items():
        default = "" if field.default in (None, "") else f"`{field.default}`"
        meaning = str(field.description).replace("|", "\\|")
        row = f"| `{PREFIX}{name.upper()}` | {default} | {meaning} |"
        assert row in SIDECAR


def test_the_example_of_live_settings_holds_every_field() -> None:
    example = SIDECAR.partition("```json\n")[2].partition("```")[0]
    settings = parse(example.encode())
    assert isinstance(settings, LiveSettings)
    assert settings.model_fields_set == set(LiveSettings.model_fields)
    for name in LiveSettings.model_fields:
        part = getattr(settings, name)
        assert part.model_fields_set == set(type(part).model_fields)
        for value in dict(part).values():
            if isinstance(value, tuple):  # entries, which together show every field
                shown = set().union(*(each.model_fields_set for each in value))
                assert shown == set(type(value[0]).model_fields)


def test_every_refusal_of_callers_is_in_the_page() -> None:
    for refusal in (INVALID_API_KEY, missing_tenant("X")):
        assert f"{refusal.status} `{refusal.code}`" in SIDECAR


def test_the_keys_in_the_page_are_keys() -> None:
    example = SIDECAR.partition("```text\n")[2].partition("```")[0]
    keys = parse_keys({"tenant": example.encode()}, 100)
    assert not isinstance(keys, str), keys
    assert sorted(caller.max_priority for caller in keys.values()) == [-10, 500]


def test_the_page_names_every_path_of_the_admin_port() -> None:
    for path in PATHS:
        assert f"`{path}`" in SIDECAR


def test_the_page_gives_the_status_of_refusals_that_clients_meet() -> None:
    for refusal in (QUEUE_FULL, TIMEOUT, DRAINING):
        assert f"{refusal.status} `{refusal.code}`" in SIDECAR


OPERATOR = (Path(__file__).parents[2] / "docs" / "operator.md").read_text()


def test_every_condition_and_every_reason_for_worry_is_explained() -> None:
    conditions = {
        names.READY,
        names.AVAILABLE,
        names.PROGRESSING,
        names.MODEL_READY,
        names.SETTINGS_APPLIED,
        names.METRICS_AVAILABLE,
        names.SCALING_ACTIVE,
        names.REMEDIATION_ACTIVE,
        names.BYPASSED,
    }
    for explained in conditions | names.PROBLEMS:
        assert f"| `{explained}` |" in OPERATOR
