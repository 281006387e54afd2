from __future__ import annotations

from pathlib import Path

import pytest

from batchfleet_worker.settings import PREFIX, Settings, SettingsError, described, from_environment


def test_without_any_variable_the_defaults_hold() -> None:
    settings = from_environment({"PATH": "/bin"})
    assert settings == Settings()
    assert settings.upstream_address == ("127.0.0.1", 8000)


def test_every_setting_is_read_from_its_variable() -> None:
    settings = from_environment(
        {
            "BATCHFLEET_UPSTREAM": "http://engine:9000/",
            "BATCHFLEET_PORT": "81",
            "BATCHFLEET_LIVE_SETTINGS": "/etc/live.json",
            "BATCHFLEET_DRAIN_SETTLE_SECONDS": "0.5",
            "BATCHFLEET_WARMUP": "Disabled",
            "BATCHFLEET_EXTRA_PATHS": "POST:/generate=relay",
        }
    )
    assert settings.upstream_address == ("engine", 9000)
    assert settings.port == 81
    assert settings.live_settings == Path("/etc/live.json")
    assert settings.drain_settle_seconds == 0.5
    assert settings.warmup == "Disabled"


@pytest.mark.parametrize(
    ("variable", "value", "says"),
    [
        ("PORT", "http", "BATCHFLEET_PORT='http': Input should be a valid integer"),
        ("PORT", "70000", "less than or equal to 65535"),
        ("PORT", "tcp://10.0.0.1:80", "BATCHFLEET_PORT="),  # a Service named batchfleet injects it
        ("UPSTREAM", "https://x", "write it as http://host:port, without a path"),
        ("UPSTREAM", "http://x/v1", "write it as http://host:port, without a path"),
        ("EXTRA_PATHS", "/generate", "is not METHOD:/path=relay|merge|pass"),
        ("ACCESS", "Keys", "'Open', 'APIKeys' or 'TrustedHeader'"),
        ("ACCESS", "APIKeys", "BATCHFLEET_ACCESS=APIKeys needs BATCHFLEET_API_KEYS"),
        ("ACCESS", "TrustedHeader", "needs BATCHFLEET_TENANT_HEADER"),
        ("TENANT_HEADER", "X Tenant", "String should match pattern"),
        ("TENANT_MAX_PRIORITY", "1001", "less than or equal to 1000"),
        ("WARMUP", "off", "'Auto' or 'Disabled'"),
        ("DRAIN_TIMEOUT_SECONDS", "-1", "greater than or equal to 0"),
        (
            "MAX_BODY_BYTE",
            "1",
            "not a setting of the sidecar; did you mean BATCHFLEET_MAX_BODY_BYTES?",
        ),
    ],
)
def test_what_is_wrong_is_said_in_one_sentence_that_names_the_variable(
    variable: str, value: str, says: str
) -> None:
    with pytest.raises(SettingsError) as refused:
        from_environment({PREFIX + variable: value})
    text = str(refused.value)
    assert says in text
    assert PREFIX + variable in text
    assert "\n" not in text


def test_several_errors_are_told_together() -> None:
    with pytest.raises(SettingsError) as refused:
        from_environment({"BATCHFLEET_PORT": "x", "BATCHFLEET_ADMIN_PORT": "y"})
    assert len(str(refused.value).splitlines()) == 2


def test_help_describes_every_setting() -> None:
    text = described()
    for name, field in Settings.model_fields.items():
        assert PREFIX + name.upper() in text
        assert field.description
        assert field.description in text
