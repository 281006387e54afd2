"""How we show a Prometheus who we are, and whom we trust: the files of one Secret.

The operator's own come from a mounted directory and are read again when they change; those of a
service's own Prometheus from the Secret that it names.  Neither is ever written anywhere: what TLS
wants as files is given to it as anonymous memory.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from batchfleet_operator.errors import NoAnswerError

FILES = ("token", "username", "password", "ca.crt", "tls.crt", "tls.key")


@dataclass(frozen=True, slots=True)
class Credentials:
    """Never printed."""

    token: str | None = field(default=None, repr=False)
    basic: tuple[str, str] | None = field(default=None, repr=False)
    ca: bytes | None = field(default=None, repr=False)  # PEM; None: the usual authorities
    certificate: bytes | None = field(default=None, repr=False)
    key: bytes | None = field(default=None, repr=False)

    @property
    def authorization(self) -> str | None:
        """The header."""
        if self.token is not None:
            return f"Bearer {self.token}"
        if self.basic is not None:
            return "Basic " + base64.b64encode(":".join(self.basic).encode()).decode()
        return None


def of(files: Mapping[str, bytes]) -> Credentials:
    """From the files of a Secret.  Raises :class:`NoAnswerError` where they do not fit together."""
    text = {name: _line(name, files) for name in ("token", "username", "password")}
    if (text["username"] is None) != (text["password"] is None):
        raise NoAnswerError("the credentials need both username and password, or neither")
    if text["token"] is not None and text["username"] is not None:
        raise NoAnswerError("the credentials have both a token and a username: leave one out")
    if ("tls.crt" in files) != ("tls.key" in files):
        raise NoAnswerError("the credentials need both tls.crt and tls.key, or neither")
    basic = None
    if text["username"] is not None and text["password"] is not None:
        basic = (text["username"], text["password"])
    return Credentials(
        text["token"], basic, files.get("ca.crt"), files.get("tls.crt"), files.get("tls.key")
    )


def of_secret(secret: Mapping[str, object]) -> Credentials:
    """From a Secret as the API server prints it.  Raises :class:`NoAnswerError`."""
    data = secret.get("data")
    files = data if isinstance(data, dict) else {}
    try:
        return of({n: base64.b64decode(files[n], validate=True) for n in FILES if n in files})
    except (binascii.Error, TypeError) as error:
        raise NoAnswerError("the Secret's data are not base64") from error


class Directory:
    """A mounted Secret; :meth:`read` looks whether it has changed."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._seen: dict[str, tuple[int, int]] | None = None
        self._last = Credentials()

    def read(self) -> Credentials:
        """The credentials of now; the same object while nothing has changed."""
        try:
            seen = {name: _mark(path) for name, path in self._files()}
            if seen != self._seen:
                self._last = of({name: path.read_bytes() for name, path in self._files()})
                self._seen = seen
        except OSError as error:
            raise NoAnswerError(f"cannot read the credentials: {error.strerror}") from error
        return self._last

    def _files(self) -> list[tuple[str, Path]]:
        return [(n, self._folder / n) for n in FILES if (self._folder / n).exists()]


@contextlib.contextmanager
def as_files(*contents: bytes | None) -> Iterator[list[str | None]]:
    """Paths under which the contents can be read for the time of the block."""
    with contextlib.ExitStack() as stack:
        paths: list[str | None] = []
        for content in contents:
            if content is None:
                paths.append(None)
                continue
            memory = os.memfd_create("credentials", os.MFD_CLOEXEC)
            stack.callback(os.close, memory)
            os.write(memory, content)
            paths.append(f"/proc/self/fd/{memory}")
        yield paths


def _line(name: str, files: Mapping[str, bytes]) -> str | None:
    if name not in files:
        return None
    try:
        line = files[name].decode().strip()
    except UnicodeDecodeError as error:
        raise NoAnswerError(f"the credentials' {name} is not text") from error
    if not line or not line.isprintable():
        raise NoAnswerError(f"the credentials' {name} is empty, or not one line of text")
    return line


def _mark(path: Path) -> tuple[int, int]:
    found = path.stat()
    return found.st_mtime_ns, found.st_ino
