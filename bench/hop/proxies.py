"""The proxies that are compared: how each is started, all on one core, all in front of one engine.

Each is set up as its makers recommend for this use: kept-alive connections to the engine, no access
log, one worker (there is one core).  None of them merges but ours.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from bench import cache
from bench.hop.traffic import API_KEY
from bench.processes import Process, Processes, free_port

VLLM_ROUTER = ("vllm-router==0.1.17",)
# The line before the one of which a release was tampered with and withdrawn (1.107).
LITELLM = ("litellm[proxy]==1.104.0",)

DIRECT = "direct"
NGINX = "nginx"
HAPROXY = "haproxy"
DISABLED = "sidecar, Disabled"
ENFORCE = "sidecar, Enforce"
PURE = "sidecar, Enforce, pure Python"
"""The others are compiled, as the image is."""
AIOHTTP = "aiohttp"
ROUTER = "vllm-router"
LITELLM_PROXY = "litellm"

START_SECONDS = 180  # LiteLLM's proxy loads for long, more so beside others

_NGINX = """\
daemon off;
{user}
worker_processes 1;
worker_rlimit_nofile 16384;
error_log stderr error;
pid {folder}/nginx.pid;
events {{ worker_connections 8192; }}
http {{
  access_log off;
  client_body_temp_path {folder}/nginx-body;
  proxy_temp_path {folder}/nginx-proxy;
  fastcgi_temp_path {folder}/nginx-fastcgi;
  uwsgi_temp_path {folder}/nginx-uwsgi;
  scgi_temp_path {folder}/nginx-scgi;
  keepalive_requests 100000000;
  upstream engine {{
    server 127.0.0.1:{engine};
    keepalive 128;
    keepalive_requests 100000000;
  }}
  proxy_http_version 1.1;
  proxy_set_header Connection "";
  client_max_body_size 32m;
  client_body_buffer_size 256k;
  server {{ listen 127.0.0.1:{port}; location / {{ proxy_pass http://engine; }} }}
  server {{
    listen 127.0.0.1:{stream_port};
    location / {{ proxy_pass http://engine; proxy_buffering off; }}
  }}
}}
"""

_HAPROXY = """\
global
  nbthread 1
  maxconn 8192
defaults
  mode http
  option http-keep-alive
  http-reuse always
  timeout connect 5s
  timeout client 60s
  timeout server 60s
frontend clients
  bind 127.0.0.1:{port}
  default_backend engine
backend engine
  server engine 127.0.0.1:{engine}
listen streams
  bind 127.0.0.1:{stream_port}
  option http-no-delay
  server engine 127.0.0.1:{engine}
"""

_LITELLM = """\
model_list:
  - model_name: model
    litellm_params: {{model: openai/model, api_base: "http://127.0.0.1:{engine}/v1", api_key: none}}
litellm_settings: {{telemetry: false, drop_params: false}}
"""


@dataclass(frozen=True, slots=True)
class Hop:
    """One way to the engine.  ``process`` None: no proxy at all."""

    name: str
    port: int
    stream_port: int
    process: Process | None = None


@dataclass(frozen=True, slots=True)
class Place:
    """Where a proxy is started: under whose care, with which files, before which engine."""

    running: Processes
    folder: Path
    engine_port: int
    core: int
    worker: Path | None = None  # a worker/src in place of the installed one, which is pure Python

    def start(
        self,
        name: str,
        argv: list[str],
        port: int,
        *,
        stream_port: int | None = None,
        env: Mapping[str, str] | None = None,
    ) -> Hop:
        """Without waiting for it: :meth:`await_port`."""
        process = self.running.start(name.replace(", ", "-"), argv, cores=[self.core], env=env)
        return Hop(name, port, stream_port or port, process)

    def await_port(self, hop: Hop) -> None:
        if hop.process:
            self.running.await_port(hop.process, hop.port, START_SECONDS)

    def write(self, name: str, text: str) -> str:
        path = self.folder / name
        path.write_text(text)
        return str(path)


def nginx(place: Place, program: str) -> Hop:
    port, stream_port = free_port(), free_port()
    config = place.write(
        "nginx.conf",
        _NGINX.format(
            user="user root;" if os.geteuid() == 0 else "",
            folder=place.folder,
            engine=place.engine_port,
            port=port,
            stream_port=stream_port,
        ),
    )
    argv = [program, "-p", str(place.folder), "-e", "stderr", "-c", config]
    return place.start(NGINX, argv, port, stream_port=stream_port)


def haproxy(place: Place, program: str) -> Hop:
    port, stream_port = free_port(), free_port()
    config = place.write(
        "haproxy.cfg",
        _HAPROXY.format(engine=place.engine_port, port=port, stream_port=stream_port),
    )
    argv = [program, "-db", "-f", config]
    return place.start(HAPROXY, argv, port, stream_port=stream_port)


def sidecar(place: Place, name: str, merging: str) -> Hop:
    """Everything as it is by default, but for the addresses and the merging mode."""
    port = free_port()
    settings = {
        "UPSTREAM": f"http://127.0.0.1:{place.engine_port}",
        "HOST": "127.0.0.1",
        "PORT": str(port),
        "ADMIN_HOST": "127.0.0.1",
        "ADMIN_PORT": str(free_port()),
        "WARMUP": "Disabled",
        "LIVE_SETTINGS": place.write(
            f"live-{merging}.json", json.dumps({"merging": {"mode": merging}})
        ),
    }
    argv = [sys.executable, "-m", "batchfleet_worker", "sidecar"]
    env = {f"BATCHFLEET_{name}": value for name, value in settings.items()}
    if place.worker:
        env["PYTHONPATH"] = str(place.worker)
    return place.start(name, argv, port, env=env)


def aiohttp(place: Place) -> Hop:
    port = free_port()
    argv = [sys.executable, "-m", "bench.hop.aiohttp_proxy", str(port), str(place.engine_port)]
    return place.start(AIOHTTP, argv, port)


def vllm_router(place: Place, programs: Path) -> Hop:
    port = free_port()
    argv = [
        str(programs / "vllm-router"),
        *("--worker-urls", f"http://127.0.0.1:{place.engine_port}"),
        *("--host", "127.0.0.1", "--port", str(port)),
        *("--prometheus-port", str(free_port())),
        *("--policy", "round_robin", "--log-level", "error"),
    ]
    return place.start(ROUTER, argv, port)


def litellm(place: Place, programs: Path) -> Hop:
    port = free_port()
    config = place.write("litellm.yaml", _LITELLM.format(engine=place.engine_port))
    argv = [
        str(programs / "litellm"),
        *("--config", config, "--host", "127.0.0.1", "--port", str(port), "--num_workers", "1"),
    ]
    env = {
        "PATH": f"{programs}{os.pathsep}{os.environ.get('PATH', '')}",
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",  # or it asks the internet
        "LITELLM_MASTER_KEY": API_KEY,
        "LITELLM_MODE": "PRODUCTION",
        "LITELLM_LOG": "ERROR",
        "LITELLM_TELEMETRY": "False",
        "HOME": str(place.folder),
    }
    return place.start(LITELLM_PROXY, argv, port, env=env)


def installed(name: str, *, install: bool) -> Path | None:
    """The ``bin`` folder of a proxy that comes from PyPI; None: not in the cache yet."""
    packages = {ROUTER: VLLM_ROUTER, LITELLM_PROXY: LITELLM}[name]
    return cache.environment(name, packages, install=install)
