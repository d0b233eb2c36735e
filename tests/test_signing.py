"""minisign's signatures: what Debian's minisign signs we verify, what we sign it verifies, and nothing else holds."""

import base64
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.signing import (
    PublicKey,
    SecretKey,
    SignatureError,
    new_key,
    parse_public_key,
    parse_secret_key,
    sign,
    verify,
)

DATA = '{"do":"acknowledge","text":"卫生间求助"}'.encode()
LOCKED = """untrusted comment: minisign encrypted secret key
RWRTY0IyFIrthUVR0zw3ZNKv+b4KEDlDwLW/F9goUzf1wkTNfQEAAAACAAAAAAAAAEAAAAAAO0bHkR0LLTDnVFYFRSPCXapRMLVEDx+Y1Jcr5mEOthoAWft7\
FuOPhAG6BHi1QnpMDxD0D8oAWstBuVJnKtV/TFeiJBqTumCLPuNHAUshZfh4mM95RzZd+JpeAl7dWCTIO9b6NAI1/bY=
"""  # by Debian's minisign 0.11, for this test alone; its password is "recorded"


def key(seed: int) -> SecretKey:
    dice = random.Random(seed)
    return new_key(dice.randbytes(32), dice.randbytes(8))


CITY, OTHER = key(1), key(2)
SIGNATURE = sign(DATA, CITY, "by the city")


def run(*words: str | Path, folder: Path, say: str = "") -> str:
    done = subprocess.run(
        list(map(str, words)), cwd=folder, input=say, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_what_minisign_signs_is_verified_here(minisign: str, tmp_path: Path) -> None:
    run(minisign, "-G", "-W", "-p", "city.pub", "-s", "city.key", folder=tmp_path)
    (tmp_path / "body").write_bytes(DATA)
    run(minisign, "-S", "-s", "city.key", "-m", "body", "-t", "by 张", folder=tmp_path)
    public = parse_public_key((tmp_path / "city.pub").read_text())
    assert public.name in (tmp_path / "city.pub").read_text()
    signed = verify(DATA, (tmp_path / "body.minisig").read_text(), [OTHER.public, public])
    assert signed == (public, "by 张")


@pytest.mark.parametrize("comment", ["a\u2028b", "a\u0085b", "a\x0bb", "a\x1cb"])
def test_a_comment_pasted_from_elsewhere_may_have_what_unicode_takes_for_a_new_line(
    minisign: str, tmp_path: Path, comment: str
) -> None:
    run(minisign, "-G", "-W", "-p", "city.pub", "-s", "city.key", folder=tmp_path)
    (tmp_path / "body").write_bytes(DATA)
    run(minisign, "-S", "-s", "city.key", "-m", "body", "-t", comment, folder=tmp_path)
    public = parse_public_key((tmp_path / "city.pub").read_text())
    signature = (tmp_path / "body.minisig").read_bytes().decode()
    assert verify(DATA, signature, [public]).comment == comment
    assert verify(DATA, signature.replace("\n", "\r\n"), [public]).comment == comment


def test_a_key_whose_id_begins_with_zeros_is_named_as_minisign_names_it() -> None:
    recorded = """untrusted comment: minisign public key 21FE52C348F218
RWQY8kjDUv4hAMp87eRg4vyypGxdnMh/HUUwesO5Sre1V+5sH1vybze+
"""  # by Debian's minisign 0.11
    public = parse_public_key(recorded)
    assert public.name == "21FE52C348F218"
    assert public.as_text() == recorded


def test_what_is_signed_here_minisign_verifies(minisign: str, tmp_path: Path) -> None:
    (tmp_path / "city.pub").write_text(CITY.public.as_text())
    (tmp_path / "body").write_bytes(DATA)
    (tmp_path / "body.minisig").write_text(SIGNATURE)
    said = run(minisign, "-V", "-p", "city.pub", "-m", "body", folder=tmp_path)
    assert "verified" in said
    assert "by the city" in said
    (tmp_path / "body").write_bytes(DATA + b" ")
    with pytest.raises(AssertionError, match="failed"):
        run(minisign, "-V", "-p", "city.pub", "-m", "body", folder=tmp_path)


def test_a_key_of_minisigns_without_a_password_signs_here(minisign: str, tmp_path: Path) -> None:
    run(minisign, "-G", "-W", "-p", "city.pub", "-s", "city.key", folder=tmp_path)
    (tmp_path / "body").write_bytes(DATA)
    secret = parse_secret_key((tmp_path / "city.key").read_text(), lambda: "not asked for")
    (tmp_path / "body.minisig").write_text(sign(DATA, secret, "both"))
    run(minisign, "-V", "-p", "city.pub", "-m", "body", folder=tmp_path)


@pytest.mark.slow  # its scrypt takes 1 GiB and seconds, on purpose
def test_a_key_of_minisigns_with_a_password_signs_here() -> None:
    secret = parse_secret_key(LOCKED, lambda: "recorded")
    public = parse_public_key("RWTl7NncDvKs1pCkReaqvnpy+3YL7M31+9eCGJhtbt2dvNMW8gG8cIF7")
    assert verify(DATA, sign(DATA, secret, "it"), [public]) == (public, "it")


@pytest.mark.parametrize("password", ["", "another"])
def test_another_password_than_the_keys_is_told(password: str) -> None:
    cheap = (32_768).to_bytes(8, "little") + (16 << 20).to_bytes(8, "little")  # scrypt's operations and memory
    raw = base64.b64encode(b"EdScB2" + bytes(32) + cheap + bytes(104)).decode()
    with pytest.raises(SignatureError, match="another password than the key's, expected that one; try again"):
        parse_secret_key(f"untrusted comment: minisign encrypted secret key\n{raw}\n", lambda: password)


def test_the_old_sort_of_signature_is_refused_with_what_to_do(minisign: str, tmp_path: Path) -> None:
    run(minisign, "-G", "-W", "-p", "city.pub", "-s", "city.key", folder=tmp_path)
    (tmp_path / "body").write_bytes(DATA)
    run(minisign, "-S", "-l", "-s", "city.key", "-m", "body", folder=tmp_path)
    public = parse_public_key((tmp_path / "city.pub").read_text())
    with pytest.raises(SignatureError, match="of the old sort, expected a prehashed one; sign without -l"):
        verify(DATA, (tmp_path / "body.minisig").read_text(), [public])


def moved(signature: str) -> str:
    """The inner signature of something else under this comment."""
    lines, others = signature.splitlines(), sign(b"something else", CITY, "by the city").splitlines()
    return "\n".join([lines[0], others[1], *lines[2:]])


@pytest.mark.parametrize(
    ("data", "signature", "keys", "said"),
    [
        (DATA, SIGNATURE, [OTHER.public], f"by key {CITY.public.name}, expected one of {OTHER.public.name}"),
        (DATA, SIGNATURE, [], "expected one of none at all"),
        (DATA + b" ", SIGNATURE, [CITY.public], "of something else, expected one of exactly these"),
        (DATA, moved(SIGNATURE), [CITY.public], "of something else, expected one of exactly these"),
        (DATA, SIGNATURE.replace("by the city", "by a thief"), [CITY.public], "a trusted comment that was changed"),
        (DATA, SIGNATURE, [PublicKey(CITY.id, OTHER.public.key)], "of something else"),  # an id proves nothing
        (DATA, "", [CITY.public], "found nothing, expected the four lines of a .minisig file"),
        (DATA, "x" * 5000, [CITY.public], "expected the four lines"),
        (DATA, SIGNATURE.replace("\n", "\n\n"), [CITY.public], "expected the four lines"),
    ],
)
def test_what_does_not_hold_is_refused_with_what_was_found(
    data: bytes, signature: str, keys: list[PublicKey], said: str
) -> None:
    with pytest.raises(SignatureError, match=said):
        verify(data, signature, keys)


@given(st.text(max_size=400))
def test_no_text_is_a_signature_or_a_key_by_chance(text: str) -> None:
    with pytest.raises(SignatureError):
        verify(DATA, text, [CITY.public])
    with pytest.raises(SignatureError):
        parse_public_key(text)
    with pytest.raises(SignatureError):
        parse_secret_key(text, lambda: "")


@settings(deadline=None)
@given(st.integers(0, len(SIGNATURE) - 1), st.characters(codec="utf-8"))
def test_a_signature_changed_in_one_place_holds_no_more(at: int, letter: str) -> None:
    """But for the untrusted comment, and writings of the same bytes."""
    changed = SIGNATURE[:at] + letter + SIGNATURE[at + 1 :]
    try:
        verify(DATA, changed, [CITY.public])
    except SignatureError:
        return
    theirs, ours = changed.split("\n"), SIGNATURE.split("\n")
    assert [base64.b64decode(theirs[i]) for i in (1, 3)] == [base64.b64decode(ours[i]) for i in (1, 3)]
    assert theirs[2] == ours[2]


def test_who_verifies_nothing_pays_for_no_library() -> None:
    code = f"""
import sys
from gateway.signing import parse_public_key
parse_public_key({CITY.public.as_text()!r})
assert not any(name.partition(".")[0] in ("nacl", "cffi") for name in sys.modules), sorted(sys.modules)
"""
    subprocess.run([sys.executable, "-c", code], env=dict(os.environ), check=True, timeout=30)
