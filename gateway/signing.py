"""Signatures in minisign's format: the only file that imports PyNaCl, and only once there is something to verify.

What Debian's `minisign` signs is verified here, and the other way round. Format and checks: minisign's own page,
https://jedisct1.github.io/minisign/. Only its prehashed signatures (the default since 0.10) are taken, because the old
ones need the whole file in memory.
"""

import base64
import binascii
import hashlib
from collections.abc import Callable, Sequence
from typing import NamedTuple

_ED25519, _PREHASHED = b"Ed", b"ED"
_SCRYPT, _BLAKE2B = b"Sc", b"B2"
_UNTRUSTED, _TRUSTED = "untrusted comment: ", "trusted comment: "
_PUBLIC_B, _SIGNATURE_B, _GLOBAL_B, _SECRET_B = 42, 74, 64, 158
_SEALED_B = 104  # of the secret key: id, key and checksum, which a password hides
TEXT_MAX = 4096  # characters of a signature or a key, comments included


class SignatureError(ValueError):
    """A key or a signature that does not hold: found, expected, what to do."""


class PublicKey(NamedTuple):
    """id: 8 bytes that tell keys apart and prove nothing. key: 32 bytes, Ed25519."""

    id: bytes
    key: bytes

    @property
    def name(self) -> str:
        """As minisign prints it."""
        return key_name(self.id)

    def as_text(self) -> str:
        """What stands in a .pub file."""
        raw = base64.b64encode(_ED25519 + self.id + self.key).decode()
        return f"{_UNTRUSTED}minisign public key {self.name}\n{raw}\n"


class SecretKey(NamedTuple):
    """key: 64 bytes, the seed and the public key."""

    id: bytes
    key: bytes

    @property
    def public(self) -> PublicKey:
        return PublicKey(self.id, self.key[32:])


class Signed(NamedTuple):
    """Who signed, and the comment that is signed with it."""

    key: PublicKey
    comment: str


def key_name(key_id: bytes) -> str:
    return f"{int.from_bytes(key_id, 'little'):X}"  # without zeros in front


def parse_public_key(text: str) -> PublicKey:
    """The two lines of a .pub file, or the second alone. Raises SignatureError."""
    lines = text.strip().splitlines()
    raw = _bytes(lines[-1] if 1 <= len(lines) <= 2 and len(text) <= TEXT_MAX else "", _PUBLIC_B)
    if raw is None or raw[:2] != _ED25519:
        raise SignatureError(
            f"found {_shown(text)}, expected a minisign public key; take the .pub file that `minisign -G` wrote"
        )
    return PublicKey(raw[2:10], raw[10:])


def verify(data: bytes, signature: str, keys: Sequence[PublicKey]) -> Signed:
    """signature: the four lines of a .minisig file. Raises SignatureError."""
    algorithm, key_id, sealed, comment, outer = _parts(signature)
    if algorithm == _ED25519:
        raise SignatureError("found a signature of the old sort, expected a prehashed one; sign without -l")
    key = next((key for key in keys if key.id == key_id), None)
    if key is None:
        known = ", ".join(key.name for key in keys) or "none at all"
        raise SignatureError(
            f"found a signature by key {key_name(key_id)}, expected one of {known}; sign with that, or add the key"
        )
    if not _holds(key.key, hashlib.blake2b(data).digest(), sealed):
        raise SignatureError(
            f"found a signature by key {key.name} of something else, expected one of exactly these {len(data)} bytes; "
            "sign what is sent, and change nothing after it"
        )
    if not _holds(key.key, sealed + comment.encode(), outer):
        raise SignatureError("found a trusted comment that was changed, expected the one that was signed; sign again")
    return Signed(key, comment)


def _parts(signature: str) -> tuple[bytes, bytes, bytes, str, bytes]:
    """(algorithm, key id, signature, trusted comment, signature of both). Raises SignatureError."""
    text = signature if len(signature) <= TEXT_MAX else ""
    lines = [
        line.rstrip("\r") for line in text.rstrip("\r\n").split("\n")
    ]  # a comment may have what Unicode ends lines with
    if len(lines) == 4 and lines[0].startswith(_UNTRUSTED) and lines[2].startswith(_TRUSTED):
        inner, outer = _bytes(lines[1], _SIGNATURE_B), _bytes(lines[3], _GLOBAL_B)
        if inner is not None and outer is not None and inner[:2] in (_ED25519, _PREHASHED):
            return inner[:2], inner[2:10], inner[10:], lines[2].removeprefix(_TRUSTED), outer
    raise SignatureError(
        f"found {_shown(signature)}, expected the four lines of a .minisig file; sign with `minisign -S`"
    )


def _holds(key: bytes, message: bytes, signature: bytes) -> bool:
    from nacl.bindings import crypto_sign_open
    from nacl.exceptions import BadSignatureError

    try:
        crypto_sign_open(signature + message, key)
    except BadSignatureError:
        return False
    return True


# -- the signing side: the city's tools, and whoever builds models -----------------------------------------------------


def new_key(seed: bytes, key_id: bytes) -> SecretKey:
    """seed: 32 bytes nobody can guess. key_id: 8 random bytes."""
    from nacl.bindings import crypto_sign_seed_keypair

    return SecretKey(key_id, crypto_sign_seed_keypair(seed)[1])


def parse_secret_key(text: str, password: Callable[[], str]) -> SecretKey:
    """A .key file of minisign. password: asked only for a key that has one. Raises SignatureError."""
    lines = text.strip().splitlines()
    raw = _bytes(lines[-1] if len(lines) == 2 and len(text) <= TEXT_MAX else "", _SECRET_B)
    if raw is None or raw[:2] != _ED25519 or raw[2:4] not in (_SCRYPT, b"\0\0") or raw[4:6] != _BLAKE2B:
        raise SignatureError("found no minisign secret key, expected the .key file that `minisign -G` wrote; see --key")
    inner = raw[-_SEALED_B:]
    if raw[2:4] == _SCRYPT:
        inner = _opened(inner, raw[6:38], raw[38:46], raw[46:54], password())
        if hashlib.blake2b(raw[:2] + inner[:72], digest_size=32).digest() != inner[72:]:
            raise SignatureError("found another password than the key's, expected that one; try again")
    return SecretKey(inner[:8], inner[8:72])


def _opened(inner: bytes, salt: bytes, operations: bytes, memory: bytes, password: str) -> bytes:
    from nacl.pwhash import scrypt

    limits = int.from_bytes(operations, "little"), int.from_bytes(memory, "little")
    stream = scrypt.kdf(len(inner), password.encode(), salt, *limits)
    return bytes(a ^ b for a, b in zip(inner, stream, strict=True))


def sign(data: bytes, key: SecretKey, comment: str) -> str:
    """The four lines of a .minisig file. comment: one line, signed too. Raises SignatureError."""
    from nacl.bindings import crypto_sign

    if not comment.isprintable():
        raise SignatureError(f"found the comment {comment[:60]!r}, expected one line; write it without control signs")
    sealed = crypto_sign(hashlib.blake2b(data).digest(), key.key)[:64]
    outer = crypto_sign(sealed + comment.encode(), key.key)[:64]
    inner = base64.b64encode(_PREHASHED + key.id + sealed).decode()
    return f"{_UNTRUSTED}signature by Linli\n{inner}\n{_TRUSTED}{comment}\n{base64.b64encode(outer).decode()}\n"


def _bytes(line: str, length: int) -> bytes | None:
    try:
        raw = base64.b64decode(line.strip(), validate=True)
    except (binascii.Error, ValueError):
        return None
    return raw if len(raw) == length else None


def _shown(text: str) -> str:
    return repr(text[:40]) if text else "nothing"
