"""The Docker engine that kind's node runs in: the machine's own, else a private one.

The private engine serves every cluster of this machine from one socket, and goes with the last of
them. `host_network` sees to it that nothing of it stays behind.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from e2e.kind import cache, debian, host_network, oci_runtime, steps

# Short, because the engine makes sockets below it, and a socket's path has at most 107 bytes.
_RUN = Path("/run/batchfleet")
_SOCKET = _RUN / "docker.sock"
_PIDFILE = _RUN / "docker.pid"
_CGROUP = "batchfleet"
# Our own network: it can be removed without asking whose clusters are on kind's default one.
NETWORK = "batchfleet"
_USE = "engine-use"  # the lock that everybody holds who needs the engine to stay
_EXEC_SECONDS = 20.0  # until dockerd must be among the processes
_START_SECONDS = 60.0
_STOP_SECONDS = 30.0
_COMMAND_SECONDS = 300.0


@dataclass(frozen=True)
class Engine:
    """A Docker engine that answers; `env` are the variables with which `docker` reaches it."""

    private: bool
    env: dict[str, str] = field(default_factory=dict)

    def run(self, *arguments: str | Path, timeout_seconds: float = _COMMAND_SECONDS) -> None:
        """`docker ARGUMENTS`. Raises CommandError."""
        steps.run(
            ["docker", *arguments],
            log=cache.log_file("docker"),
            timeout_seconds=timeout_seconds,
            env=self.env,
        )

    def read(self, *arguments: str) -> str | None:
        """The output of `docker ARGUMENTS`; None when it fails."""
        return steps.read(["docker", *arguments], env=self.env)


def find() -> Engine | None:
    """The engine that answers now: the private one while it runs, else the machine's own."""
    if os.access(_SOCKET, os.W_OK):
        private = _private_engine()
        if private.read("info") is not None:
            return private
    if steps.read(["docker", "info"]) is not None:
        return Engine(private=False)
    return None


@contextmanager
def in_use() -> Iterator[Engine]:
    """The engine that answers, a private one started if none does; `release` lets it alone.

    Raises SetupError.
    """
    with cache.lock(_USE, shared=True):
        with cache.lock("engine"):
            engine = find() or _start()
        yield engine


def release() -> None:
    """Take away our network and the private engine, unless a cluster needs them."""
    with cache.lock("engine"):
        engine = find()
        if cache.is_held(_USE):
            return
        if engine is not None:
            if engine.read("ps", "-aq", "--filter", f"network={NETWORK}"):
                return
            engine.read("network", "rm", NETWORK)  # there may be none
        if os.access(_RUN, os.W_OK):
            with steps.step("stop the private Docker engine"):
                _stop()


def _private_engine() -> Engine:
    env = debian.environment("dockerd", "docker", "runc", "iptables", "nft", "ip")
    return Engine(private=True, env={**env, "DOCKER_HOST": f"unix://{_SOCKET}"})


def _start() -> Engine:
    if sys.platform != "linux" or os.geteuid() != 0:
        raise steps.SetupError(
            "No Docker engine answers (`docker info`), and only root on Linux can start a private"
            " one. Start Docker, or run this again as root."
        )
    engine = _private_engine()
    # The mounts of an engine that was killed would make this one fail in strange ways.
    _stop()
    _RUN.mkdir(mode=0o700, parents=True)
    host_network.remember(_RUN / "host-network.json", engine.env)
    (_RUN / "daemon.json").write_text("{}")  # in place of /etc/docker/daemon.json
    log = cache.log_file("dockerd")
    with steps.step("start a private Docker engine"), log.open("ab") as output:
        subprocess.run(
            [
                *("setsid", "--fork"),  # it outlives this command, and Ctrl-C
                shutil.which("dockerd", path=engine.env["PATH"]) or "dockerd",
                *("--config-file", str(_RUN / "daemon.json")),
                *("--data-root", str(_data_root())),
                *("--exec-root", str(_RUN / "exec")),
                *("--pidfile", str(_PIDFILE)),
                *("--host", f"unix://{_SOCKET}"),
                *("--bridge", "none"),
                *("--exec-opt", "native.cgroupdriver=cgroupfs"),
                *("--cgroup-parent", f"/{_CGROUP}"),
                *("--shutdown-timeout", "5"),
                *_runtime_options(),
            ],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, **engine.env},
            check=True,
        )
        try:
            began = time.monotonic()
            while engine.read("info") is None:
                waited = time.monotonic() - began
                if waited > _START_SECONDS or (waited > _EXEC_SECONDS and not _processes()):
                    raise steps.SetupError(steps.explain("dockerd did not start", log))
                time.sleep(0.1)
            if killed := (engine.read("ps", "-aq") or "").split():  # with their engine, once
                engine.run("rm", "--force", "--volumes", *killed)
        except BaseException:
            _stop()
            raise
    return engine


def _data_root() -> Path:
    return cache.folder() / "docker"


def _runtime_options() -> list[str]:
    """dockerd's options for the runtime in front of runc, where it is needed."""
    if _may_raise_limits():
        return []
    launcher = _RUN / "runc-without-limits"
    launcher.write_text(f'#!/bin/sh\nexec {sys.executable} {oci_runtime.__file__} "$@"\n')
    launcher.chmod(0o755)
    return ["--add-runtime", f"batchfleet={launcher}", "--default-runtime", "batchfleet"]


def _may_raise_limits() -> bool:
    cap_sys_resource = 1 << 24
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("CapEff:"):
            return bool(int(line.split()[1], 16) & cap_sys_resource)
    return False


def _stop() -> None:
    """End dockerd and take away its processes, mounts, cgroups, network rules and run folder."""
    if _PIDFILE.exists() and (pid := int(_PIDFILE.read_text())) in _processes():
        os.kill(pid, signal.SIGTERM)
        deadline = time.monotonic() + _STOP_SECONDS
        while pid in _processes() and time.monotonic() < deadline:
            time.sleep(0.1)
    deadline = time.monotonic() + _STOP_SECONDS
    while left := _processes():  # of a dockerd that was killed, or would not end
        if time.monotonic() > deadline:
            raise steps.SetupError(f"the Docker engine's processes {sorted(left)} do not end")
        for pid in left:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.1)
    mounted = [line.split()[1] for line in Path("/proc/mounts").read_text().splitlines()]
    for place in reversed(mounted):  # the innermost first
        if f"{place}/".startswith((f"{_RUN}/", f"{_data_root()}/")):
            steps.read(["umount", "--lazy", place])
    for cgroup in _cgroups():
        cgroup.rmdir()
    memory = _RUN / "host-network.json"
    if memory.exists():
        host_network.restore(memory, _private_engine().env)
    if _RUN.exists():
        shutil.rmtree(_RUN)
    for empty in ("/run/docker/plugins", "/run/docker"):  # the one path that no option moves
        with suppress(OSError):
            Path(empty).rmdir()


def _processes() -> set[int]:
    """The engine's programs, and everything in its containers."""
    found = set()
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(FileNotFoundError, ProcessLookupError):  # it has just ended
            command = (folder / "cmdline").read_bytes()
            program = command.partition(b"\0")[0].rpartition(b"/")[2]
            if program.startswith((b"dockerd", b"containerd")) and f"{_RUN}/".encode() in command:
                found.add(int(folder.name))
    for cgroup in _cgroups():
        with suppress(OSError):  # it is being removed
            found.update(int(pid) for pid in (cgroup / "cgroup.procs").read_text().split())
    return found


def _cgroups() -> list[Path]:
    """The engine's cgroups in every hierarchy, the innermost first."""
    top = Path("/sys/fs/cgroup")
    roots = [*top.glob(f"*/{_CGROUP}"), *top.glob(_CGROUP)]
    return [cgroup for root in roots for cgroup in [*_below(root), root]]


def _below(cgroup: Path) -> list[Path]:
    children = [child for child in cgroup.iterdir() if child.is_dir()]
    return [path for child in children for path in [*_below(child), child]]
