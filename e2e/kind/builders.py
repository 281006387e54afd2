"""What builds an image here: the machine's Docker engine, or buildah on a base made on the spot.

A Docker engine is used where it has `python:3.12-slim` or can pull it. Elsewhere a base of Debian
packages stands in for that image, and buildah builds without daemon or registry, in a store of its
own below the cache folder. pip's settings and the certificates of this machine are lent to such a
build while it runs, read-only; they are never part of an image.
"""

from __future__ import annotations

import ast
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from e2e.kind import cache, debian, engine, steps

_PYTHON_IMAGE = "python:3.12-slim"
_PULL_SECONDS = 300.0
_BUILD_SECONDS = 3600.0  # the real engine's image holds gigabytes
_SAVE_SECONDS = 900.0

_SUITE = "bookworm"
_PACKAGES = ("usr-is-merged", "python3", "python3-venv", "ca-certificates")
_LEFT_OUT = ("doc", "info", "locale", "man")  # folders of /usr/share
_CERTIFICATES = "/etc/ssl/certs/ca-certificates.crt"
_PIP_SETTING = re.compile(r"[^.]+\.([a-z-]+)=(.*)")
_PIP_SETTINGS = ("index-url", "extra-index-url", "trusted-host", "proxy", "timeout")


@dataclass(frozen=True)
class Recipe:
    """What an image is made of."""

    dockerfile: str
    inputs: tuple[str, ...]  # files and folders, from the root; they keep their paths
    keep_layers: bool = True  # for a quick next build; else the archive is the only copy


class Builder(Protocol):
    """Builds a Dockerfile into a docker archive; `base` identifies what it builds on."""

    @property
    def base(self) -> str: ...

    def build(self, context: Path, recipe: Recipe, tag: str, archive: Path) -> None: ...


def choose() -> Builder:
    """The builder for this machine. Raises SetupError where neither can be had."""
    found = engine.find()
    if found is not None and not found.private:
        identity = _image_id(found)
        if identity is None:
            steps.say(f"pull {_PYTHON_IMAGE} ...")
            found.read("pull", "--quiet", _PYTHON_IMAGE)
            identity = _image_id(found)
        if identity is not None:
            return Docker(found, identity)
    return Buildah.here()


@dataclass(frozen=True)
class Docker:
    """`docker build`, with the machine's own engine."""

    engine: engine.Engine
    base: str

    def build(self, context: Path, recipe: Recipe, tag: str, archive: Path) -> None:
        self.engine.run(
            *("build", "--file", context / recipe.dockerfile, "--tag", tag, context),
            timeout_seconds=_BUILD_SECONDS,
        )
        self.engine.run("save", "--output", archive, tag, timeout_seconds=_SAVE_SECONDS)
        if not recipe.keep_layers:
            self.engine.run("rmi", tag)


@dataclass(frozen=True)
class Buildah:
    """buildah with chroot isolation: needs root, but neither a daemon nor a registry."""

    env: dict[str, str]
    store: Path

    @classmethod
    def here(cls) -> Buildah:
        if sys.platform != "linux" or os.geteuid() != 0:
            raise steps.SetupError(
                f"Images can be built by a Docker engine that has {_PYTHON_IMAGE} or can pull it,"
                " or by root on Linux. Start Docker, or run this again as root."
            )
        store = cache.folder() / "buildah"
        store.mkdir(parents=True, exist_ok=True)
        (store / "policy.json").write_text('{"default": [{"type": "insecureAcceptAnything"}]}')
        return cls(debian.environment("buildah", "mmdebstrap"), store)

    @property
    def base(self) -> str:
        """The name of the base image in our store; it holds the fingerprint of its recipe."""
        return f"localhost/batchfleet-base:{cache.fingerprint([_SUITE, *_PACKAGES, *_LEFT_OUT])}"

    def build(self, context: Path, recipe: Recipe, tag: str, archive: Path) -> None:
        with cache.lock("buildah"):
            self._sweep()
            try:
                self._ensure_base()
                self._build(context, recipe, f"localhost/{tag}")
                self._run("push", f"localhost/{tag}", f"docker-archive:{archive}:{tag}")
                if not recipe.keep_layers:
                    self._run("rmi", f"localhost/{tag}")
            finally:
                self._sweep()

    def _sweep(self) -> None:
        """Remove what a build that failed or was killed left mounted. Needs the lock."""
        self._read("rm", "--all")

    def _build(self, context: Path, recipe: Recipe, name: str) -> None:
        with _lent_settings() as mounts:
            self._run(
                *("bud", "--isolation", "chroot", "--network", "host", "--pull-never"),
                f"--layers={str(recipe.keep_layers).lower()}",
                *("--build-arg", f"BASE_IMAGE={self.base}"),
                *(word for mount in mounts for word in ("--volume", mount)),
                *("--file", str(context / recipe.dockerfile), "--tag", name, str(context)),
            )

    def _ensure_base(self) -> None:
        if self._read("inspect", "--type", "image", self.base) is not None:
            return
        with (
            steps.step("make a base image of Debian packages"),
            tempfile.TemporaryDirectory(prefix="batchfleet-base-") as folder,
        ):
            context = Path(folder)
            self._debootstrap(context / "base.tar")
            (context / "Dockerfile").write_text(
                "FROM scratch\nADD base.tar /\nENV PATH=/usr/local/bin:/usr/bin:/bin\n"
            )
            self._run("bud", "--isolation", "chroot", "--tag", self.base, str(context))

    def _debootstrap(self, target: Path) -> None:
        program = self._program("mmdebstrap")
        # With this hook a small package stands in for usrmerge, which drags in all of Perl.
        hook = program.parents[1] / "share/mmdebstrap/hooks/merged-usr"
        steps.run(
            [str(program), "--quiet", "--variant=minbase", f"--hook-dir={hook}"]
            + [f"--include={','.join(_PACKAGES)}"]
            + [f"--dpkgopt=path-exclude=/usr/share/{name}/*" for name in _LEFT_OUT]
            + [_SUITE, str(target)],
            log=cache.log_file("base-image"),
            timeout_seconds=_BUILD_SECONDS,
            env=self.env,
        )

    def _command(self, verb: str, arguments: tuple[str, ...]) -> list[str]:
        places = ["--root", str(self.store / "root"), "--runroot", str(self.store / "run")]
        policy = ["--signature-policy", str(self.store / "policy.json")]
        given = [*places, verb, *(policy if verb in ("bud", "push") else []), *arguments]
        return [*_with_libraries(self._program("buildah")), *given]

    def _program(self, name: str) -> Path:
        found = shutil.which(name, path=self.env["PATH"])
        if found is None:
            raise steps.SetupError(f"{name} is neither installed nor where it was unpacked")
        return Path(found)

    def _run(self, verb: str, *arguments: str) -> None:
        steps.run(
            self._command(verb, arguments),
            log=cache.log_file("buildah"),
            timeout_seconds=_BUILD_SECONDS,
            env=self.env,
        )

    def _read(self, verb: str, *arguments: str) -> str | None:
        return steps.read(self._command(verb, arguments), env=self.env)


def _with_libraries(program: Path) -> list[str]:
    """The command that runs `program` with the libraries that were unpacked beside it.

    buildah starts itself again without LD_LIBRARY_PATH. So an unpacked one gets them laid over the
    machine's own libraries, in a mount namespace that ends with it.
    """
    if not program.is_relative_to(cache.folder()):
        return [str(program)]
    root = program.parents[2]  # of ROOT/usr/bin/buildah
    layers = [root / "usr/lib", root / "lib", Path("/usr/lib")]
    lower = ":".join(str(layer) for layer in layers if layer.exists())
    script = 'mount -t overlay -o "lowerdir=$0" overlay /usr/lib && exec "$@"'
    return ["unshare", "--mount", "sh", "-c", script, lower, str(program)]


def _image_id(docker: engine.Engine) -> str | None:
    return docker.read("image", "inspect", "--format", "{{.Id}}", _PYTHON_IMAGE)


@contextmanager
def _lent_settings() -> Iterator[list[str]]:
    """Mounts, read-only, of this machine's pip settings and certificates for one build."""
    settings = _pip_settings()
    certificates = Path(os.environ.get("SSL_CERT_FILE", _CERTIFICATES))
    mounts = []
    if certificates.is_file():
        settings["cert"] = _CERTIFICATES
        mounts.append(f"{certificates.resolve()}:{_CERTIFICATES}:ro")
    with tempfile.NamedTemporaryFile("w", prefix="batchfleet-pip-") as configuration:
        configuration.write("[global]\n")
        configuration.writelines(f"{key} = {value}\n" for key, value in settings.items())
        configuration.flush()
        # Readable for a build step that is not root.
        Path(configuration.name).chmod(0o644)
        yield [*mounts, f"{configuration.name}:/etc/pip.conf:ro"]


def _pip_settings() -> dict[str, str]:
    """What pip is told on this machine about where packages come from, the environment last."""
    listing = steps.read([sys.executable, "-m", "pip", "config", "list"]) or ""
    lines = sorted(listing.splitlines(), key=lambda line: line.startswith(":env:"))
    found = [match.groups() for match in map(_PIP_SETTING.fullmatch, lines) if match]
    return {
        key: " ".join(str(ast.literal_eval(value)).split())
        for key, value in found
        if key in _PIP_SETTINGS
    }
