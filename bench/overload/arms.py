"""What stands in front of the engine in each arm: nothing, nginx, or the sidecar."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path
from typing import Any

import aiohttp

from bench.processes import Processes, free_port
from bench.traffic.fleet import WORKER, Fleet

ENGINE_FLAGS = ("--prefill-ms=0.5", "--prefill-ms-per-token=0.01")
"""Times of the simulator's default table (SageServe's: llama2-70b on four H100, 28.8 + 0.336 x
batch ms between tokens) with short prompts made cheap, so that the batch alone decides."""

NGINX = """\
user root;
daemon off;
worker_processes 1;
pid {folder}/nginx.pid;
error_log stderr crit;
events {{ worker_connections 16384; }}
http {{
  access_log off;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  limit_conn_zone $server_port zone=all:1m;
  limit_conn_status 503;
  upstream engine {{ server 127.0.0.1:{engine}; keepalive 256; keepalive_timeout 4s; }}
  server {{
    listen 127.0.0.1:{port} backlog=2048;
    location / {{
      limit_conn all {limit};
      proxy_pass http://engine;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_buffering off;
    }}
  }}
}}
"""
NO_NGINX = "nginx is not on PATH, so its arm is left out (apt-get install nginx)."


def has_nginx() -> bool:
    return shutil.which("nginx") is not None


async def engine(processes: Processes, name: str) -> int:
    """An engine of its own; its port."""
    port = free_port()
    await asyncio.to_thread(
        processes.start,
        f"{name}-engine",
        (*WORKER, "simulate", f"--port={port}", *ENGINE_FLAGS),
        port=port,
    )
    return port


async def nginx(processes: Processes, folder: Path, limit: int) -> int:
    """nginx with ``limit_conn`` in front of an engine; its port."""
    port = free_port()
    config = folder / "nginx.conf"
    config.write_text(
        NGINX.format(folder=folder, engine=await engine(processes, "nginx"), port=port, limit=limit)
    )
    await asyncio.to_thread(
        processes.start, "nginx", ("nginx", "-p", str(folder), "-c", str(config)), port=port
    )
    return port


async def sidecar(
    processes: Processes,
    folder: Path,
    session: aiohttp.ClientSession,
    name: str,
    batching: dict[str, Any],
    environment: dict[str, str],
) -> Fleet:
    """The sidecar in front of an engine."""
    fleet = Fleet(
        processes,
        folder,
        session,
        name=f"{name}-",
        engine_flags=ENGINE_FLAGS,
        environment=environment,
    )
    await fleet.start(
        {
            "batching": {"maxQueueLength": 1000, **batching},
            "requests": {"timeoutSeconds": 60, "queueTimeoutSeconds": 5},
        }
    )
    return fleet
