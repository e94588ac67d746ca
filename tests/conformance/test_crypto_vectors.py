"""Published vectors: AES-256-GCM (Wycheproof, NIST) on every provider, and Argon2id.

Applicable are a 256-bit key, a 96-bit nonce and a 128-bit tag: what Rango writes. The OpenSSL
provider runs once more in a process in which OpenSSL must not use AES instructions, which is how it
runs on a Raspberry Pi.

`python -m tests.conformance.test_crypto_vectors` runs the GCM vectors on OpenSSL and prints the
count.
"""

from __future__ import annotations

import json
import os
import platform
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from itertools import takewhile
from typing import NamedTuple

import pytest
from nacl.bindings import crypto_pwhash_alg, crypto_pwhash_ALG_ARGON2ID13
from nacl.exceptions import InvalidkeyError
from nacl.pwhash import verify as pwhash_verify

from rango._ext.seal import Entropy, Provider, provider_libsodium, provider_openssl
from rango.errors import InvalidArgument
from tests.corpus import ROOT, corpus_path, report_cases

KEY_BITS, NONCE_BITS, TAG_BITS = 256, 96, 128
HEXADECIMAL = re.compile(r"[0-9A-F ]+")
WITHOUT_AES = {
    "x86_64": ("OPENSSL_ia32cap", "~0x200000200000000"),
    "aarch64": ("OPENSSL_armcap", "1"),
}


class Vector(NamedTuple):
    """One case. `data` is None where the sealed bytes have to be refused."""

    name: str
    key: bytes
    nonce: bytes
    aad: bytes
    sealed: bytes
    data: bytes | None


def wycheproof() -> Iterator[Vector]:
    """The applicable cases of aes_gcm_test.json."""
    path = corpus_path("wycheproof", "testvectors_v1", "aes_gcm_test.json")
    for group in json.loads(path.read_text())["testGroups"]:
        if (group["keySize"], group["ivSize"], group["tagSize"]) != (
            KEY_BITS,
            NONCE_BITS,
            TAG_BITS,
        ):
            continue
        for case in group["tests"]:
            key, nonce, aad, data, cipher, tag = (
                bytes.fromhex(case[name]) for name in ("key", "iv", "aad", "msg", "ct", "tag")
            )
            valid = case["result"] == "valid"
            yield Vector(
                f"tc{case['tcId']}", key, nonce, aad, cipher + tag, data if valid else None
            )


def cavp(name: str) -> Iterator[Vector]:
    """The applicable cases of a CAVP response file."""
    sizes: dict[str, int] = {}
    fields: dict[str, str] = {}

    def vector() -> Iterator[Vector]:
        if not fields or (sizes["Keylen"], sizes["IVlen"], sizes["Taglen"]) != (
            KEY_BITS,
            NONCE_BITS,
            TAG_BITS,
        ):
            return
        key, nonce, aad, cipher, tag = (
            bytes.fromhex(fields[field]) for field in ("Key", "IV", "AAD", "CT", "Tag")
        )
        data = None if "FAIL" in fields else bytes.fromhex(fields["PT"])
        place = f"{name} {sizes['PTlen']}/{sizes['AADlen']} {fields['Count']}"
        yield Vector(place, key, nonce, aad, cipher + tag, data)

    for line in corpus_path("nist-cavp-gcm", name).read_text().splitlines():
        field, _, value = (part.strip() for part in line.strip("[]").partition("="))
        if line.startswith("["):
            yield from vector()
            fields = {}
            sizes[field] = int(value)
        elif field == "Count":
            yield from vector()
            fields = {"Count": value}
        elif field and not line.startswith("#"):
            fields[field] = value
    yield from vector()


def worked_examples() -> Iterator[Vector]:
    """The applicable ones of NIST's worked examples, which also print every step between."""
    text = corpus_path("nist-cavp-gcm", "AES_GCM_examples.txt").read_text()
    for number, example in enumerate(text.partition("GCM-AES256")[2].split("Example #")[1:], 1):
        lines = [line.strip() for line in example.splitlines()]

        def field(name: str, lines: list[str] = lines) -> bytes:
            rest = lines[lines.index(f"{name} is") + 1 :]
            digits = takewhile(HEXADECIMAL.fullmatch, rest)
            return bytes.fromhex("".join(digits))

        key, nonce, aad, data, cipher, tag = map(field, ("K", "IV", "A", "P", "C", "Tag"))
        if (len(key), len(nonce), len(tag)) == (KEY_BITS // 8, NONCE_BITS // 8, TAG_BITS // 8):
            yield Vector(f"worked example {number}", key, nonce, aad, cipher + tag, data)


SUITES: dict[str, Callable[[], Iterator[Vector]]] = {
    "wycheproof": wycheproof,
    "examples": worked_examples,
    "gcmEncryptExtIV256.rsp": lambda: cavp("gcmEncryptExtIV256.rsp"),
    "gcmDecrypt256.rsp": lambda: cavp("gcmDecrypt256.rsp"),
}


def failures_of(provider: Provider, vectors: list[Vector]) -> list[str]:
    """Names of the vectors that do not come out right."""
    entropy = Entropy()
    failures = []
    for vector in vectors:
        key = provider.key(vector.key, entropy)
        if key.open_bytes(vector.aad, vector.nonce, vector.sealed) != vector.data:
            failures.append(f"{vector.name}: open")
        if vector.data is not None:
            sealed = key.seal_with_nonce(vector.aad, vector.nonce, vector.data)
            if sealed != vector.sealed:
                failures.append(f"{vector.name}: seal")
    return failures


def gcm_vectors() -> list[Vector]:
    """All of them."""
    return [vector for suite in SUITES.values() for vector in suite()]


@pytest.fixture(params=["libsodium", "libsodium-unscheduled", "openssl"])
def provider(request: pytest.FixtureRequest) -> Provider:
    if request.param == "openssl":
        return provider_openssl()
    try:
        return provider_libsodium(scheduled=request.param == "libsodium")
    except InvalidArgument as error:
        pytest.skip(str(error))


# counted in the files with other tools: a reader that finds fewer would pass everything
@pytest.mark.parametrize(
    ("suite", "count", "refused"),
    [
        ("wycheproof", 66, 27),
        ("examples", 5, 0),
        ("gcmEncryptExtIV256.rsp", 375, 0),
        ("gcmDecrypt256.rsp", 375, 191),
    ],
)
def test_gcm_vectors(
    suite: str, count: int, refused: int, provider: Provider, capsys: pytest.CaptureFixture[str]
) -> None:
    vectors = list(SUITES[suite]())
    assert failures_of(provider, vectors) == []
    report_cases(capsys, f"AES-256-GCM {suite} on {provider!r}", len(vectors))
    assert len(vectors) == count
    assert sum(vector.data is None for vector in vectors) == refused


@pytest.mark.skipif(platform.machine() not in WITHOUT_AES, reason="no switch for this processor")
def test_gcm_vectors_without_aes_instructions(capsys: pytest.CaptureFixture[str]) -> None:
    name, value = WITHOUT_AES[platform.machine()]
    corpus_path("nist-cavp-gcm")
    done = subprocess.run(
        [sys.executable, "-m", "tests.conformance.test_crypto_vectors"],
        check=False,
        cwd=ROOT,
        env={**os.environ, name: value},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    report_cases(capsys, f"AES-256-GCM on openssl, {name}={value}", int(done.stdout))
    assert int(done.stdout) == len(gcm_vectors())


def test_argon2id_vectors(capsys: pytest.CaptureFixture[str]) -> None:
    """As encoded strings: libsodium's raw call takes salts of 16 bytes only, the vectors have 8."""
    content = json.loads(corpus_path("argon2", "argon2_vectors.json").read_text())
    vectors = [case for case in content["vectors"] if case["type"] == "Argon2_id"]
    for case in vectors:
        encoded = case["encoded"].encode()
        assert pwhash_verify(encoded, case["password"].encode()), encoded
        with pytest.raises(InvalidkeyError):
            pwhash_verify(encoded, case["password"].encode() + b"x")
    report_cases(capsys, "Argon2id as encoded strings", len(vectors))
    assert len(vectors) >= 8


def test_argon2id_raw_call_equals_openssl(capsys: pytest.CaptureFixture[str]) -> None:
    """What keyring calls, against an implementation that passes its own vectors (RFC 9106)."""
    argon2 = pytest.importorskip("cryptography.hazmat.primitives.kdf.argon2")
    cases = 0
    for passes, kibibytes in ((1, 8), (3, 64), (2, 256), (3, 65_536)):
        for password in (b"", b"correct horse", "p\u00e4ssword".encode()):
            salt = bytes(range(passes, passes + 16))
            expected = argon2.Argon2id(
                salt=salt, length=32, iterations=passes, lanes=1, memory_cost=kibibytes
            ).derive(password)
            found = crypto_pwhash_alg(
                32, password, salt, passes, kibibytes * 1024, crypto_pwhash_ALG_ARGON2ID13
            )
            assert found == expected
            cases += 1
    report_cases(capsys, "Argon2id raw against OpenSSL", cases)


if __name__ == "__main__":
    VECTORS = gcm_vectors()
    FAILURES = failures_of(provider_openssl(), VECTORS)
    print(*FAILURES, sep="\n", file=sys.stderr)
    print(len(VECTORS))
    sys.exit(bool(FAILURES))
