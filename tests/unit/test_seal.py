"""Sealing, the hashes beside it, and where nonces come from."""

from __future__ import annotations

import hashlib
import os
import pickle
import subprocess
import sys
import threading
import zlib
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rango._ext.seal import (
    PLAIN,
    Entropy,
    Provider,
    SealKey,
    blake2b,
    chain_hash,
    crc32_bytes,
    nonce_observer_set,
    provider_choose,
    provider_libsodium,
    provider_openssl,
)
from rango.errors import InvalidArgument
from tests.reference import seal as twin

KEY = bytes(range(32))


def has_libsodium() -> bool:
    """libsodium has no AES-GCM on arm64 and on old x86."""
    try:
        provider_libsodium()
    except InvalidArgument:
        return False
    return True


PROVIDERS: dict[str, Provider] = {"openssl": provider_openssl()}
if has_libsodium():
    PROVIDERS["libsodium"] = provider_libsodium()
    PROVIDERS["libsodium-unscheduled"] = provider_libsodium(scheduled=False)
EVERYTHING = {**PROVIDERS, "plain": PLAIN}


def key_of(name: str, key: bytes = KEY, entropy: Entropy | None = None) -> SealKey:
    return EVERYTHING[name].key(key, entropy or Entropy())


@pytest.fixture
def observed() -> Iterator[list[tuple[bytes, bytes]]]:
    seen: list[tuple[bytes, bytes]] = []
    nonce_observer_set(lambda fingerprint, nonce: seen.append((fingerprint, nonce)))
    yield seen
    nonce_observer_set(None)


@pytest.mark.parametrize("name", PROVIDERS)
@given(aad=st.binary(max_size=80), data=st.binary(max_size=5000))
def test_sealed_bytes_equal_the_twin(name: str, aad: bytes, data: bytes) -> None:
    key = key_of(name)
    nonce, sealed = key.seal_bytes(aad, data)
    assert sealed == twin.seal(KEY, aad, nonce, data)
    assert key.open_bytes(aad, nonce, sealed) == data


@given(aad=st.binary(max_size=80), data=st.binary(max_size=5000))
def test_plain_bytes_equal_the_twin(aad: bytes, data: bytes) -> None:
    key = key_of("plain")
    assert key.seal_bytes(aad, data) == twin.plain_seal(aad, data)
    assert key.open_bytes(aad, *twin.plain_seal(aad, data)) == data


@pytest.mark.parametrize("name", EVERYTHING)
@pytest.mark.parametrize("size", [0, 1, 15, 16, 17, 300, 4096])
def test_any_changed_bit_is_refused(name: str, size: int) -> None:
    key = key_of(name)
    aad, data = b"place of the page", os.urandom(size)
    nonce, sealed = key.seal_bytes(aad, data)
    parts = [bytearray(aad), bytearray(nonce), bytearray(sealed)]
    for part in parts:
        for at in {0, len(part) // 2, len(part) - 1}:
            for bit in (0, 7):
                part[at] ^= 1 << bit
                assert key.open_bytes(*(bytes(piece) for piece in parts)) is None
                part[at] ^= 1 << bit
    assert key.open_bytes(*(bytes(piece) for piece in parts)) == data


@pytest.mark.parametrize("name", EVERYTHING)
def test_pieces_cannot_move_between_aad_and_data(name: str) -> None:
    key = key_of(name)
    nonce, sealed = key.seal_bytes(b"ab", b"cd")
    assert key.open_bytes(b"a", nonce, b"b" + sealed) is None
    assert key.open_bytes(b"abc", nonce, sealed[1:]) is None


@pytest.mark.parametrize("name", EVERYTHING)
@pytest.mark.parametrize("size", [0, 1, 15])
def test_less_than_a_tag_is_refused(name: str, size: int) -> None:
    assert key_of(name).open_bytes(b"", bytes(12), bytes(size)) is None


@pytest.mark.parametrize("size", [0, 11, 13])
def test_a_nonce_of_another_size_is_refused(size: int) -> None:
    key = key_of("openssl")
    assert key.open_bytes(b"", bytes(size), bytes(16)) is None
    with pytest.raises(InvalidArgument, match="12 bytes"):
        key.seal_with_nonce(b"", bytes(size), b"")


@pytest.mark.parametrize("name", PROVIDERS)
def test_another_key_is_refused(name: str) -> None:
    nonce, sealed = key_of(name).seal_bytes(b"", b"data")
    assert key_of(name, b"x" * 32).open_bytes(b"", nonce, sealed) is None


@pytest.mark.parametrize("writer", PROVIDERS)
@pytest.mark.parametrize("reader", PROVIDERS)
def test_providers_open_what_the_others_sealed(writer: str, reader: str) -> None:
    for size in (0, 1, 255, 4096, 65_500):
        data = os.urandom(size)
        nonce, sealed = key_of(writer).seal_bytes(b"aad", data)
        assert key_of(reader).open_bytes(b"aad", nonce, sealed) == data


@pytest.mark.parametrize("name", PROVIDERS)
def test_every_seal_has_a_fresh_nonce(name: str, observed: list[tuple[bytes, bytes]]) -> None:
    key = key_of(name)
    nonces = [key.seal_bytes(b"", b"same")[0] for _ in range(500)]
    assert len(set(nonces)) == 500
    assert observed == [(key.fingerprint, nonce) for nonce in nonces]


def test_plain_seals_are_not_observed(observed: list[tuple[bytes, bytes]]) -> None:
    key_of("plain").seal_bytes(b"", b"")
    assert observed == []


def test_an_observer_that_raises_is_heard() -> None:
    def observer(fingerprint: bytes, nonce: bytes) -> None:
        raise LookupError("repeated")

    nonce_observer_set(observer)
    try:
        with pytest.raises(LookupError, match="repeated"):
            key_of("openssl").seal_bytes(b"", b"")
    finally:
        nonce_observer_set(None)


def test_a_forked_child_draws_other_nonces() -> None:
    key = key_of("openssl")
    key.seal_bytes(b"", b"")
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(writer, key.seal_bytes(b"", b"")[0])
        os._exit(0)
    os.close(writer)
    assert os.waitpid(child, 0)[1] == 0
    assert os.read(reader, 12) != key.seal_bytes(b"", b"")[0]
    os.close(reader)


def test_injected_randomness_is_used() -> None:
    asked: list[int] = []

    def source(size: int) -> bytes:
        asked.append(size)
        return bytes([len(asked)]) * size

    key = key_of("openssl", entropy=Entropy(source))
    assert key.seal_bytes(b"", b"x")[0] == b"\x01" * 12
    assert key.seal_bytes(b"", b"x")[0] == b"\x02" * 12
    assert key.entropy.bytes(3) == b"\x03" * 3
    assert asked == [12, 12, 3]


@pytest.mark.parametrize("value", [b"short", b"much too long a value", "text", None, bytearray(12)])
def test_bad_injected_randomness_is_refused(value: Any) -> None:
    def source(size: int) -> bytes:
        answer: bytes = value
        return answer

    with pytest.raises(InvalidArgument, match="exactly 12 bytes"):
        key_of("openssl", entropy=Entropy(source)).seal_bytes(b"", b"")


def test_an_error_of_the_source_passes_through() -> None:
    def source(size: int) -> bytes:
        raise OSError("no entropy")

    with pytest.raises(OSError, match="no entropy"):
        key_of("openssl", entropy=Entropy(source)).seal_bytes(b"", b"")


def test_a_source_that_is_not_callable_is_refused() -> None:
    with pytest.raises(InvalidArgument):
        Entropy(b"seed")  # type: ignore[arg-type]


def test_random_bytes_of_the_system_in_any_size() -> None:
    for size in (0, 1, 255, 256, 257, 5000):
        assert len(Entropy().bytes(size)) == size
    assert Entropy().bytes(16) != Entropy().bytes(16)


@pytest.mark.parametrize("size", [0, 31, 33])
def test_a_key_of_another_size_is_refused(size: int) -> None:
    for name in EVERYTHING:
        with pytest.raises(InvalidArgument, match="32 bytes"):
            key_of(name, bytes(size))


@pytest.mark.parametrize("name", EVERYTHING)
def test_a_key_is_never_shown_nor_pickled(name: str) -> None:
    key = key_of(name)
    assert KEY.hex() not in repr(key)
    assert repr(KEY) not in repr(key)
    assert KEY[:8] != key.fingerprint
    for thing in (key, key.provider, key.entropy):
        with pytest.raises(TypeError, match="pickled"):
            pickle.dumps(thing)


def test_fingerprints_tell_keys_apart_and_nothing_else() -> None:
    assert key_of("openssl").fingerprint == key_of("plain").fingerprint
    assert key_of("openssl").fingerprint != key_of("openssl", b"x" * 32).fingerprint


@pytest.mark.parametrize("name", PROVIDERS)
def test_one_key_in_many_threads(name: str) -> None:
    key = key_of(name)
    failures: list[str] = []

    def work(number: int) -> None:
        for step in range(200):
            data = bytes([number, step]) * 200
            nonce, sealed = key.seal_bytes(b"t", data)
            if key.open_bytes(b"t", nonce, sealed) != data:
                failures.append(f"{number}.{step}")

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


@given(a=st.binary(max_size=300), b=st.binary(max_size=300))
def test_chain_hash_is_blake2b(a: bytes, b: bytes) -> None:
    assert chain_hash(a, b) == hashlib.blake2b(a + b, digest_size=32).digest()
    assert chain_hash(a) == hashlib.blake2b(a, digest_size=32).digest()


@given(data=st.binary(max_size=200))
def test_crc_is_that_of_zlib(data: bytes) -> None:
    assert crc32_bytes(data) == zlib.crc32(data) == twin.crc32(data)


def test_the_provider_is_chosen_by_name_and_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RANGO_CRYPTO", raising=False)
    assert provider_choose().name == ("libsodium" if has_libsodium() else "openssl")
    assert provider_choose("openssl").name == "openssl"
    monkeypatch.setenv("RANGO_CRYPTO", "openssl")
    assert provider_choose().name == "openssl"
    monkeypatch.setenv("RANGO_CRYPTO", "rot13")
    with pytest.raises(InvalidArgument, match="rot13"):
        provider_choose()


@pytest.mark.skipif(not has_libsodium(), reason="libsodium has no AES-GCM on this machine")
def test_openssl_is_loaded_only_when_it_is_chosen() -> None:
    program = (
        "import sys\n"
        "from rango._ext import seal\n"
        "seal.provider_choose().key(bytes(32), seal.Entropy()).seal_bytes(b'', b'')\n"
        "assert 'cryptography' not in sys.modules\n"
        "seal.provider_choose('openssl').key(bytes(32), seal.Entropy()).seal_bytes(b'', b'')\n"
        "assert 'cryptography' in sys.modules\n"
    )
    environment = {name: value for name, value in os.environ.items() if name != "RANGO_CRYPTO"}
    subprocess.run([sys.executable, "-c", program], check=True, env=environment)


@pytest.mark.parametrize("kind", [bytes, bytearray])
@pytest.mark.parametrize("size", [1, 16, 32, 64])
@pytest.mark.parametrize("key", [b"", b"k" * 32, b"k" * 64])
@pytest.mark.parametrize("person", [b"", b"rango epoch", b"p" * 16])
def test_a_digest_is_that_of_hashlib(kind: Any, size: int, key: bytes, person: bytes) -> None:
    for data in (b"", b"abc", bytes(1000)):
        expected = hashlib.blake2b(data, digest_size=size, key=key, person=person).digest()
        assert blake2b(kind(data), size, key=kind(key), person=person) == expected


@pytest.mark.parametrize(
    ("size", "key", "person"),
    [(0, b"", b""), (65, b"", b""), (32, b"k" * 65, b""), (32, b"", b"p" * 17)],
)
def test_a_digest_of_a_size_that_there_is_not(size: int, key: bytes, person: bytes) -> None:
    with pytest.raises(ValueError, match="64 bytes"):
        blake2b(b"", size, key=key, person=person)
