"""Who is asking: what each kind of access makes of a request's headers, and how keys change."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchfleet_worker.access import (
    APIKeys,
    KeyFolder,
    Open,
    TrustedHeader,
    current,
    parse,
    texts_of,
)
from batchfleet_worker.exchange import Caller, Headers, Refusal
from batchfleet_worker.metrics import Metrics


def bearer(key: str) -> Headers:
    return ((b"host", b"chat"), (b"authorization", b"Bearer " + key.encode()))


def caller(said: Caller | Refusal) -> Caller:
    assert isinstance(said, Caller), said
    return said


def code(said: Caller | Refusal) -> str:
    assert isinstance(said, Refusal), said
    assert said.status == 401
    return said.code


# Open ---------------------------------------------------------------------------------------------


def test_open_keeps_credentials_apart_without_knowing_them() -> None:
    access = Open(b"secret", 100)
    nobody = caller(access.identify(((b"host", b"chat"),)))
    one, same, other = (caller(access.identify(bearer(key))) for key in ("a", "a", "b"))
    assert nobody == Caller("", 100)
    assert one == same
    assert len({nobody.tenant, one.tenant, other.tenant}) == 3
    assert len(one.tenant) == 16
    assert caller(Open(b"another process", 100).identify(bearer("a"))).tenant != one.tenant


# TrustedHeader ------------------------------------------------------------------------------------


def test_the_gateways_word_is_taken() -> None:
    access = TrustedHeader("X-Tenant", 50)
    said = caller(access.identify(((b"x-tenant", b"team/search@eu"), (b"authorization", b"x"))))
    assert said == Caller("team/search@eu", 50)


@pytest.mark.parametrize(
    "headers",
    [
        (),
        ((b"x-tenant", b""),),
        ((b"x-tenant", b"a b"),),
        ((b"x-tenant", b"mine, theirs"),),
        ((b"x-tenant", b"mine,theirs"),),
        ((b"x-tenant", b"a" * 129),),
        ((b"x-tenant", b"t\xc3\xa9"),),
        ((b"x-tenant", b"mine"), (b"x-tenant", b"theirs")),
    ],
)
def test_without_one_clear_word_of_the_gateway_nobody_gets_in(headers: Headers) -> None:
    said = TrustedHeader("X-Tenant", 50).identify(headers)
    assert code(said) == "missing_tenant"
    assert isinstance(said, Refusal)
    assert "X-Tenant" in said.message


# APIKeys ------------------------------------------------------------------------------------------


class Folder:
    """A folder of keys, and the access that reads it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.metrics = Metrics()
        self.keys = KeyFolder(path, 100, self.metrics)
        self.access = APIKeys(self.keys)

    def put(self, tenant: str, text: str) -> None:
        (self.path / tenant).write_text(text)
        self.keys.poll()

    def who(self, key: str) -> str:
        said = self.access.identify(bearer(key))
        return said.tenant if isinstance(said, Caller) else f"{said.status} {said.code}"


STRANGER = "401 invalid_api_key"


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path)


def test_a_key_says_which_tenant_asks_and_how_urgently_it_may(folder: Folder) -> None:
    hashed = hashlib.sha256(b"of-bob").hexdigest()
    folder.put("alice", "# her laptop\nkey-1 priority=10  # until May\n\nkey-2\n")
    folder.put("bob", f"sha256:{hashed} priority=-5")
    ask = folder.access.identify
    assert caller(ask(bearer("key-1"))) == Caller("alice", 10)
    assert caller(ask(bearer("key-2"))) == Caller("alice", 100)
    assert caller(ask(bearer("of-bob"))) == Caller("bob", -5)
    for stranger in ("", "key-3", "key-1 ", f"sha256:{hashed}", "alice"):
        assert folder.who(stranger) == ("alice" if stranger == "key-1 " else STRANGER)


@pytest.mark.parametrize(
    "headers",
    [
        ((b"authorization", b"bearer   key-1"),),
        ((b"api-key", b"key-1"),),
        ((b"x-api-key", b"key-1"),),
        ((b"authorization", b"Basic eDp5"), (b"x-api-key", b"key-1")),
    ],
)
def test_the_ways_that_clients_send_a_key(folder: Folder, headers: Headers) -> None:
    folder.put("alice", "key-1")
    assert caller(folder.access.identify(headers)).tenant == "alice"
    assert {name for name, _ in headers} <= folder.access.stops  # the engine never sees it


def test_who_sends_no_key_or_a_key_in_the_wrong_place_is_refused(folder: Folder) -> None:
    folder.put("alice", "key-1")
    for headers in ((), ((b"authorization", b"key-1"),), ((b"authorization", b"Bearer"),)):
        assert code(folder.access.identify(headers)) == "invalid_api_key"


def test_a_changed_file_is_read_again_and_the_generation_tells(folder: Folder) -> None:
    folder.put("alice", "key-1")
    first = folder.access.generation
    folder.keys.poll()
    assert folder.access.generation == first
    folder.put("alice", "key-2")
    assert folder.access.generation > first
    assert (folder.who("key-1"), folder.who("key-2")) == (STRANGER, "alice")


def test_a_mounted_secret_is_read_as_the_kubelet_swaps_it(tmp_path: Path) -> None:
    for version, key in (("..1", "old-key"), ("..2", "new-key")):
        (tmp_path / version).mkdir()
        (tmp_path / version / "alice").write_text(key)
    (tmp_path / "..data").symlink_to("..1")
    (tmp_path / "alice").symlink_to("..data/alice")
    folder = Folder(tmp_path)
    folder.keys.poll()
    assert folder.who("old-key") == "alice"
    (tmp_path / "..data_tmp").symlink_to("..2")
    (tmp_path / "..data_tmp").rename(tmp_path / "..data")
    folder.keys.poll()
    assert (folder.who("old-key"), folder.who("new-key")) == (STRANGER, "alice")
    assert folder.keys.error is None


def test_a_secret_that_is_swapped_while_it_is_read_is_read_as_it_was(tmp_path: Path) -> None:
    """A key that moves from one tenant to another is at no time nobody's, or both's."""
    for version, tenant in (("..1", "alice"), ("..2", "bob")):
        (tmp_path / version).mkdir()
        for name in ("alice", "bob"):
            (tmp_path / version / name).write_text("key-1" if name == tenant else "")
    for name in ("alice", "bob"):
        (tmp_path / name).symlink_to(f"..data/{name}")
    (tmp_path / "..data").symlink_to("..1")
    before = current(tmp_path)
    (tmp_path / "..data_tmp").symlink_to("..2")
    (tmp_path / "..data_tmp").rename(tmp_path / "..data")
    assert texts_of(before) == {"alice": b"key-1", "bob": b""}
    assert texts_of(current(tmp_path)) == {"alice": b"", "bob": b"key-1"}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("key-2 priority=high", "bob, line 1"),
        ("key-2\nkey-3 priority=1001", "bob, line 2"),
        ("key-2 priority=1 priority=2", "bob, line 1"),
        ("sha256:abc", "64 hexadecimal digits"),
        (f"sha256:{hashlib.sha256(b'').hexdigest()}", "64 hexadecimal digits"),
        ("key-1", "alice's already"),
    ],
)
def test_a_bad_line_keeps_the_last_good_keys_and_is_told_without_the_key(
    folder: Folder, text: str, told: str
) -> None:
    folder.put("alice", "key-1")
    folder.put("bob", text)
    folder.keys.poll()
    assert folder.who("key-1") == "alice"
    assert told in (folder.keys.error or "")
    assert "key-" not in (folder.keys.error or "")
    assert folder.metrics.access_errors_total == 1
    folder.put("bob", "key-9")
    assert (folder.who("key-9"), folder.keys.error) == ("bob", None)


def test_a_folder_that_goes_away_keeps_the_keys(folder: Folder) -> None:
    folder.put("alice", "key-1")
    folder.path.rename(folder.path.with_name("elsewhere"))
    folder.keys.poll()
    assert folder.who("key-1") == "alice"
    assert "No such file" in (folder.keys.error or "")
    folder.path.with_name("elsewhere").rename(folder.path)
    folder.keys.poll()
    assert folder.keys.error is None


def test_when_the_last_key_is_taken_away_nobody_gets_in(folder: Folder) -> None:
    folder.put("alice", "key-1")
    (folder.path / "alice").unlink()
    folder.keys.poll()
    assert folder.who("key-1") == STRANGER
    assert "holds no keys" in (folder.keys.error or "")
    assert folder.metrics.access_errors_total == 1


def test_an_empty_folder_lets_nobody_in_until_there_are_keys(folder: Folder) -> None:
    folder.keys.poll()
    assert folder.who("") == STRANGER
    assert "holds no keys" in (folder.keys.error or "")
    folder.put("alice", "key-1")
    assert (folder.who("key-1"), folder.keys.error) == ("alice", None)


def test_a_file_that_cannot_be_read_keeps_the_keys(folder: Folder) -> None:
    folder.put("alice", "key-1")
    (folder.path / "bob").write_bytes(b"")
    os.truncate(folder.path / "bob", 5 * 1024 * 1024)
    folder.keys.poll()
    assert folder.who("key-1") == "alice"
    assert "more than" in (folder.keys.error or "")


@given(st.dictionaries(st.text("ab.-", min_size=1, max_size=3), st.binary(max_size=60), max_size=3))
def test_any_bytes_are_either_keys_or_a_sentence(texts: dict[str, bytes]) -> None:
    read = parse(texts, 100)
    if isinstance(read, str):
        assert "\n" not in read
    else:
        assert {each.tenant for each in read.values()} <= texts.keys()
        assert hashlib.sha256(b"").digest() not in read
