"""The client against servers that misbehave, and what it shows them of itself."""

from __future__ import annotations

import asyncio
import base64
import http.server
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from batchfleet_operator.api.service import PrometheusSource
from batchfleet_operator.config import PrometheusConfig
from batchfleet_operator.errors import (
    ForbiddenError,
    NoAnswerError,
    PrometheusError,
    QueryRefusedError,
)
from batchfleet_operator.metering import credentials
from batchfleet_operator.metering.credentials import Credentials, Directory
from batchfleet_operator.metering.prometheus import Server
from batchfleet_operator.metering.sources import Sources


def good(at: float) -> dict[str, Any]:
    """An answer of that moment."""
    result = [{"metric": {"a": "b"}, "value": [at, "2.5"]}]
    return {"status": "success", "data": {"resultType": "vector", "result": result}}


SECRET = "s3cret-t0ken"


@dataclass
class Site:
    """Answers every request alike, and notes who asked."""

    status: int = 200
    body: bytes = field(default_factory=lambda: json.dumps(good(time.time())).encode())
    headers: dict[str, str] = field(default_factory=dict)
    drips: bool = False  # a byte now and then
    seen: list[dict[str, str]] = field(default_factory=list)
    url: str = ""


@contextmanager
def serving(site: Site) -> Iterator[Site]:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            self.do_GET()

        def do_GET(self) -> None:
            site.seen.append(dict(self.headers))
            self.send_response(site.status)
            for name, value in site.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(site.body)))
            self.end_headers()
            try:
                for byte in site.body if site.drips else ():
                    self.wfile.write(bytes([byte]))
                    time.sleep(0.05)
                if not site.drips:
                    self.wfile.write(site.body)
            except OSError:
                pass  # it had enough

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        site.url = f"http://127.0.0.1:{server.server_port}"
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield site
        server.shutdown()


@contextmanager
def asking(url: str, who: Credentials | None = None, **more: Any) -> Iterator[Server]:
    options = {"timeout_seconds": 1.0, "max_age_seconds": 60.0} | more
    server = Server(url, who or Credentials(), **options)
    try:
        yield server
    finally:
        server.close()


def refusal(site: Site, who: Credentials | None = None, **more: Any) -> PrometheusError:
    with (
        serving(site),
        asking(site.url, who, **more) as server,
        pytest.raises(PrometheusError) as e,
    ):
        server.query("up")
    return e.value


def test_an_answer() -> None:
    with serving(Site()) as site, asking(site.url) as server:
        answer = server.query("up")
    (sample,) = answer.samples
    assert (answer.kind, sample.labels, sample.value) == ("vector", {"a": "b"}, 2.5)


def test_what_prometheus_says_of_a_bad_query_is_told() -> None:
    body = {"status": "error", "errorType": "bad_data", "error": "parse error: unexpected <eof>"}
    error = refusal(Site(status=400, body=json.dumps(body).encode()))
    assert isinstance(error, QueryRefusedError)
    assert str(error) == "127.0.0.1: parse error: unexpected <eof>"


@pytest.mark.parametrize(
    ("site", "says"),
    [
        (Site(status=401, body=b"who are you"), "HTTP 401"),
        (Site(status=302, headers={"Location": "http://elsewhere/"}), "redirects"),
        (Site(status=404, body=b"<html>a page of somebody's</html>"), "check the address"),
        (Site(body=b"<html>a page of somebody's</html>"), "check the address"),
        (Site(body=b'{"status":"success","data":{}}'), "check the address"),
        (Site(body=b" " * (2 << 20)), "more than 1 MiB"),
        (Site(body=b" " * 1000, drips=True), "no whole answer within 1 s"),
        (Site(status=503, body=b'{"status":"error","error":"query timed out"}'), "timed out"),
        (Site(body=json.dumps(good(time.time() - 3600)).encode()), "more than 60 s old"),
    ],
)
def test_what_is_no_answer(site: Site, says: str) -> None:
    error = refusal(site, credentials.of({"token": SECRET.encode()}), most_bytes=1 << 20)
    assert isinstance(error, NoAnswerError)
    assert says in str(error)
    assert SECRET not in str(error)
    assert "somebody" not in str(error)
    assert len(site.seen) == 1


def test_nobody_there() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"http://user:{SECRET}@127.0.0.1:{probe.getsockname()[1]}/path"
        with asking(address) as server, pytest.raises(NoAnswerError) as error:
            server.query("up")
    assert str(error.value) == "127.0.0.1: Connection refused"


def test_a_server_that_accepts_and_says_nothing() -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with asking(url, timeout_seconds=0.3) as server, pytest.raises(NoAnswerError) as error:
            server.query("up")
    assert "no answer within 0.3 s" in str(error.value)


def test_the_environment_takes_no_part(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / ".netrc").write_text(f"machine 127.0.0.1 login me password {SECRET}\n")
    (tmp_path / ".netrc").chmod(0o600)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    with serving(Site()) as site, asking(site.url) as server:
        server.query("up")
    assert "Authorization" not in site.seen[0]


@pytest.mark.parametrize(
    ("files", "header"),
    [
        ({"token": b"abc\n"}, "Bearer abc"),
        ({"username": b"me", "password": b"x:y"}, f"Basic {base64.b64encode(b'me:x:y').decode()}"),
        ({}, None),
    ],
)
def test_who_we_are(files: dict[str, bytes], header: str | None) -> None:
    with serving(Site()) as site, asking(site.url, credentials.of(files)) as server:
        server.query("up")
    assert site.seen[0].get("Authorization") == header


@pytest.mark.parametrize(
    "files",
    [
        {"username": b"me"},
        {"token": b"a", "username": b"me", "password": b"x"},
        {"tls.crt": b"x"},
        {"token": b"two\nlines"},
        {"token": b"\xff"},
        {"token": b""},
    ],
)
def test_credentials_that_do_not_fit_together(files: dict[str, bytes]) -> None:
    with pytest.raises(NoAnswerError):
        credentials.of(files)


def test_credentials_are_never_printed() -> None:
    who = credentials.of({"token": SECRET.encode(), "ca.crt": SECRET.encode()})
    assert SECRET not in repr(who) + str(who)


def test_a_ca_that_is_none_is_told() -> None:
    who = credentials.of({"ca.crt": b"not a certificate"})
    with serving(Site()) as site:
        address = site.url.replace("http:", "https:")
        with asking(address, who) as server, pytest.raises(NoAnswerError) as error:
            server.query("up")
    assert "TLS" in str(error.value) or "no answer" in str(error.value)


def test_mounted_credentials_are_read_again_when_they_change(tmp_path: Path) -> None:
    """As the kubelet does it: the files are links into a folder, which is swapped."""
    for number in (1, 2):
        (tmp_path / f"..{number}").mkdir()
        (tmp_path / f"..{number}" / "token").write_text(f"token-{number}")
    (tmp_path / "..data").symlink_to("..1")
    (tmp_path / "token").symlink_to("..data/token")
    directory = Directory(tmp_path)
    first = directory.read()
    assert directory.read() is first
    (tmp_path / "..new").symlink_to("..2")
    (tmp_path / "..new").replace(tmp_path / "..data")
    assert directory.read().token == "token-2"


def sources(read_secret: Callable[..., Any], **config: Any) -> Sources:
    return Sources(PrometheusConfig(timeout_seconds=1, **config), read_secret)


async def no_secret(namespace: str, name: str) -> dict[str, Any]:
    raise AssertionError


def test_a_services_own_never_gets_the_operators_credentials(tmp_path: Path) -> None:
    (tmp_path / "token").write_text(SECRET)

    async def read(namespace: str, name: str) -> dict[str, Any]:
        assert (namespace, name) == ("team", "mine")
        return {"data": {"token": base64.b64encode(b"theirs").decode()}}

    async def ask(url: str) -> None:
        made = sources(read, url=url, credentials_directory=str(tmp_path))
        own = made.own()
        assert own is not None
        clients = [
            own,
            made.of_service("team", PrometheusSource(url=url)),
            made.of_service("team", PrometheusSource(url=url, credentials_secret_name="mine")),
        ]
        for client in clients:
            await client.query("up")
            client.close()
        made.close()

    with serving(Site()) as site:
        asyncio.run(ask(site.url))
    shown = [each.get("Authorization") for each in site.seen]
    assert shown == [f"Bearer {SECRET}", None, "Bearer theirs"]


def test_a_secret_that_cannot_be_read_is_told() -> None:
    async def read(namespace: str, name: str) -> dict[str, Any]:
        raise ForbiddenError('secrets "mine" is forbidden')

    async def ask() -> None:
        made = sources(read)
        source = PrometheusSource(url="http://127.0.0.1:9", credentials_secret_name="mine")
        with pytest.raises(NoAnswerError, match="cannot read Secret mine: secrets"):
            await made.of_service("team", source).query("up")
        made.close()

    asyncio.run(ask())


def test_a_server_that_holds_a_thread_gets_no_second_one() -> None:
    """Its headers never end, so that no time-out of a read ends the call."""
    over = threading.Event()

    def drip(listening: socket.socket) -> None:
        connection, _ = listening.accept()
        with connection:
            connection.sendall(b"HTTP/1.1 200 OK\r\nX-Long: ")
            while not over.wait(0.05):
                connection.sendall(b".")

    async def ask(url: str) -> list[str]:
        made = sources(no_secret)
        client = made.of_service("team", PrometheusSource(url=url))
        said = []
        for _ in range(2):
            with pytest.raises(NoAnswerError) as error:
                await client.query("up")
            said.append(str(error.value))
        over.set()
        made.close()
        return said

    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        threading.Thread(target=drip, args=(listening,), daemon=True).start()
        said = asyncio.run(ask(f"http://127.0.0.1:{listening.getsockname()[1]}"))
    assert said == [
        "127.0.0.1: no answer within 1 s",
        "127.0.0.1: it still has not answered the last question",
    ]
