from __future__ import annotations

import json

import pytest

from batchfleet_worker.errors import QUEUE_FULL
from batchfleet_worker.exchange import Route
from batchfleet_worker.openai import Routes, error_body, error_event


@pytest.mark.parametrize(
    ("method", "path", "route"),
    [
        (b"POST", "/v1/chat/completions", Route.MERGE),
        (b"POST", "/v1/embeddings", Route.MERGE),
        (b"POST", "/v1/responses", Route.RELAY),
        (b"GET", "/v1/models", Route.PASS),
        (b"HEAD", "/v1/models", Route.PASS),
        (b"GET", "/v1/chat/completions", None),
        (b"POST", "/v1/models", None),
        (b"POST", "/v1/chat/completions/", None),
        (b"POST", "/V1/chat/completions", None),
        (b"POST", "/sleep", None),
        (b"POST", "/collective_rpc", None),
        (b"POST", "/v1/load_lora_adapter", None),
        (b"GET", "/metrics", None),
    ],
)
def test_the_allow_list(method: bytes, path: str, route: Route | None) -> None:
    assert Routes().route(method, path) is route


def test_the_methods_of_a_path() -> None:
    assert Routes().allowed("/v1/models") == (b"GET", b"HEAD")
    assert Routes().allowed("/nothing") == ()


def test_extra_paths() -> None:
    routes = Routes("POST:/v1/images=relay, POST:/v1/completions=relay,DELETE:/v1/models=pass")
    assert routes.route(b"POST", "/v1/images") is Route.RELAY
    assert routes.route(b"POST", "/v1/completions") is Route.RELAY
    assert routes.allowed("/v1/models") == (b"GET", b"HEAD", b"DELETE")
    assert Routes().route(b"POST", "/v1/completions") is Route.MERGE


@pytest.mark.parametrize(
    "text", ["/v1/x", "POST:/v1/x", "POST/v1/x=relay", "post:/x=relay", "POST:x=relay", "GET:/x=no"]
)
def test_a_bad_extra_path_is_named(text: str) -> None:
    with pytest.raises(ValueError, match="relay") as error:
        Routes(f"GET:/ok=pass,{text}")
    assert repr(text) in str(error.value)


def test_errors_look_like_openais() -> None:
    error = json.loads(error_body(QUEUE_FULL))["error"]
    assert error == {
        "message": QUEUE_FULL.message,
        "type": "rate_limit_error",
        "param": None,
        "code": "queue_full",
    }
    event = error_event(QUEUE_FULL)
    assert event.startswith(b"data: ")
    assert event.endswith(b"\n\n")
    assert json.loads(event[6:])["error"] == error
