"""Who is asking: from the headers of a request to a :class:`Caller`, or to a refusal.

The reader asks once per distinct head and keeps the answer; it asks again when ``generation`` has
grown.  The rules are pure but for :class:`KeyFolder`, which looks at the mounted Secret now and
then, as ``watch`` does at the live settings.  Keys are kept and looked up by their SHA-256, so that
neither memory nor timing tells one.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from batchfleet_worker.errors import INVALID_API_KEY, missing_tenant
from batchfleet_worker.exchange import Caller, Headers, Refusal
from batchfleet_worker.metrics import Metrics
from batchfleet_worker.settings import AccessType, Settings

POLL_SECONDS = 1.0
MAX_FOLDER_BYTES = 4 * 1024 * 1024
"""Four times what a Secret may hold."""
MAX_PRIORITY = 1000

_TENANT = re.compile(r"[!-+\--~]{1,128}")  # visible ASCII; no comma, which would make it a list
_TENANT_CHARACTERS = 16
_NO_KEY = hashlib.sha256(b"").digest()  # in the list it would let in whoever sends none
_KEY_HEADERS = (b"authorization", b"api-key", b"x-api-key")

log = logging.getLogger(__name__)


class Access(Protocol):
    """Tells callers apart."""

    reads: frozenset[bytes]
    """Headers that ``identify`` may look at."""

    stops: frozenset[bytes]
    """Headers that end here: the engine does not get them."""

    @property
    def generation(self) -> int:
        """Grows when ``identify`` may answer otherwise than before."""

    @property
    def error(self) -> str | None:
        """What keeps callers from being told apart as they should be."""

    def identify(self, headers: Headers) -> Caller | Refusal: ...

    def poll(self) -> None:
        """Look whether anything changed; called every POLL_SECONDS."""


def of(settings: Settings, secret: bytes, metrics: Metrics) -> Access:
    """What the settings ask for; ``secret`` is this process's own."""
    ceiling = settings.tenant_max_priority
    if settings.access is AccessType.API_KEYS and settings.api_keys is not None:
        return APIKeys(KeyFolder(settings.api_keys, ceiling, metrics))
    if settings.access is AccessType.TRUSTED_HEADER and settings.tenant_header is not None:
        return TrustedHeader(settings.tenant_header, ceiling)
    return Open(secret, ceiling)


class Open:
    """Whoever gets here may ask; those who show different credentials are kept apart.

    ``secret`` is of this process: the names of its tenants mean nothing elsewhere.
    """

    reads = frozenset({b"authorization"})
    stops: frozenset[bytes] = frozenset()
    generation = 0
    error: str | None = None

    def __init__(self, secret: bytes, max_priority: int) -> None:
        self._secret = secret
        self._max_priority = max_priority

    def identify(self, headers: Headers) -> Caller | Refusal:
        shown = b"\0".join(value for name, value in headers if name == b"authorization")
        if not shown:
            return Caller("", self._max_priority)
        tenant = hmac.new(self._secret, shown, hashlib.sha256).hexdigest()[:_TENANT_CHARACTERS]
        return Caller(tenant, self._max_priority)

    def poll(self) -> None:
        """Nothing changes."""


class TrustedHeader:
    """A gateway in front says who asks; that nobody else gets here is the network's promise."""

    stops: frozenset[bytes] = frozenset()
    generation = 0
    error: str | None = None

    def __init__(self, header: str, max_priority: int) -> None:
        self._name = header.lower().encode()
        self.reads = frozenset({self._name})
        self._max_priority = max_priority
        self._missing = missing_tenant(header)

    def identify(self, headers: Headers) -> Caller | Refusal:
        said = [value for name, value in headers if name == self._name]
        # Twice means that the client sent one too, and the gateway did not replace it.
        tenant = said[0].decode("latin-1") if len(said) == 1 else ""
        return Caller(tenant, self._max_priority) if _TENANT.fullmatch(tenant) else self._missing

    def poll(self) -> None:
        """Nothing changes."""


class APIKeys:
    """A key that stands in the folder, or nothing."""

    reads = stops = frozenset(_KEY_HEADERS)

    def __init__(self, folder: KeyFolder) -> None:
        self._folder = folder

    @property
    def generation(self) -> int:
        return self._folder.generation

    @property
    def error(self) -> str | None:
        return self._folder.error

    def poll(self) -> None:
        self._folder.poll()

    def identify(self, headers: Headers) -> Caller | Refusal:
        key = _key_of(headers)
        return self._folder.keys.get(hashlib.sha256(key).digest()) or INVALID_API_KEY


def _key_of(headers: Headers) -> bytes:
    """The first of ``Authorization: Bearer KEY``, ``api-key`` and ``x-api-key`` that is there."""
    found = {name: value for name, value in reversed(headers) if name in _KEY_HEADERS}
    scheme, _, bearer = found.get(b"authorization", b"").strip().partition(b" ")
    if scheme.lower() == b"bearer":
        return bearer.strip()
    return (found.get(b"api-key") or found.get(b"x-api-key") or b"").strip()


class KeyFolder:
    """The keys of a folder with one file per tenant, as a mounted Secret is; see :func:`parse`.

    What cannot be read or does not parse changes nothing: a key that is good stays good.  A folder
    without keys is not a fault of reading: the last key may be taken away, and then nobody gets in.
    """

    def __init__(self, path: Path, max_priority: int, metrics: Metrics) -> None:
        self.keys: Mapping[bytes, Caller] = {}
        self.generation = 0
        self.error: str | None = None
        self._path = path
        self._max_priority = max_priority
        self._metrics = metrics
        self._seen: object = None

    def poll(self) -> None:
        version = current(self._path)
        try:
            stamp = _stamp(version)
            if stamp == self._seen:
                return
            texts = texts_of(version)
        except OSError as error:
            self._seen = None
            if current(self._path) != version:
                return  # swapped while it was read: the next look is at the new one
            self._fault(f"{error.filename or self._path}: {error.strerror}")
            return
        self._seen = stamp
        parsed = parse(texts, self._max_priority)
        if isinstance(parsed, str):
            self._fault(f"{self._path}/{parsed}")
            return
        if parsed != self.keys or not self.generation:
            self.keys = parsed
            self.generation += 1
            log.info("%d API keys of %d tenants are known", len(parsed), len(texts))
        self.error = None
        if not parsed:
            self._fault(f"{self._path} holds no keys: every request is refused", kept=False)

    def _fault(self, error: str, *, kept: bool = True) -> None:
        if error == self.error:
            return
        self.error = error
        self._metrics.access_errors_total += 1
        log.warning("API keys: %s%s", error, "; the last good ones stay" if kept else "")


def current(folder: Path) -> Path:
    """Where the files are now.  The kubelet makes a new folder for each version of a mount, and
    swaps the link ``..data``: followed once, so that keys of two versions never meet."""
    try:
        return folder / (folder / "..data").readlink()
    except OSError:
        return folder


def _stamp(version: Path) -> object:
    """What changes when a file of the folder does.  May raise ``OSError``."""
    stats = {path.name: path.stat() for path in _files(version)}
    return version, {name: (st.st_ino, st.st_size, st.st_ctime_ns) for name, st in stats.items()}


def texts_of(version: Path) -> dict[str, bytes]:
    """By tenant, what its file holds.  May raise ``OSError``."""
    files = _files(version)
    if sum(path.stat().st_size for path in files) > MAX_FOLDER_BYTES:
        raise OSError(0, f"holds more than {MAX_FOLDER_BYTES} bytes", str(version))
    return {path.name: path.read_bytes() for path in files}


def _files(folder: Path) -> list[Path]:
    """One per tenant; what begins with a dot is the kubelet's or an editor's."""
    with os.scandir(folder) as entries:
        return [Path(e.path) for e in entries if not e.name.startswith(".") and e.is_file()]


def parse(texts: Mapping[str, bytes], max_priority: int) -> Mapping[bytes, Caller] | str:
    """SHA-256 of each key → whose it is; or what is wrong, naming file and line but never a key.

    A line is ``KEY [priority=N]`` or ``sha256:HEX [priority=N]``; ``#`` begins a comment, at the
    start of a line or after a blank.  Without ``priority`` the ceiling is ``max_priority``.
    """
    keys: dict[bytes, Caller] = {}
    for tenant, text in sorted(texts.items()):
        if not _TENANT.fullmatch(tenant):
            return f"{tenant[:128]!r}: a tenant's name is 1 to 128 visible characters, no comma"
        for number, line in enumerate(text.splitlines(), start=1):
            words = _words(line)
            if not words:
                continue
            where = f"{tenant}, line {number}"
            digest = _digest(words[0])
            if digest is None:
                return f"{where}: after sha256: come the 64 hexadecimal digits of a key's hash"
            ceiling = _ceiling(words[1:], max_priority)
            if ceiling is None:
                return f"{where}: after the key comes nothing, or priority=N from -1000 to 1000"
            if digest in keys:
                return f"{where}: the same key is {keys[digest].tenant}'s already"
            keys[digest] = Caller(tenant, ceiling)
    return keys


def _words(line: bytes) -> list[bytes]:
    words = line.split()
    comment = next((at for at, word in enumerate(words) if word.startswith(b"#")), len(words))
    return words[:comment]


def _digest(word: bytes) -> bytes | None:
    if not word.startswith(b"sha256:"):
        return hashlib.sha256(word).digest()
    if re.fullmatch(rb"[0-9A-Fa-f]{64}", word[7:]) is None:
        return None
    digest = bytes.fromhex(word[7:].decode())
    return None if digest == _NO_KEY else digest


def _ceiling(words: list[bytes], unset: int) -> int | None:
    """``None``: what was written is not one priority."""
    if not words:
        return unset
    said = re.fullmatch(rb"priority=(-?[0-9]{1,4})", words[0])
    if said is None or len(words) > 1:
        return None
    priority = int(said[1])
    return priority if abs(priority) <= MAX_PRIORITY else None
