from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from hypothesis import given, settings
from hypothesis import strategies as st

from moduai.store.keyring import KeyringError
from moduai.store.signing import SigningKeys, check, key_id


def file(home: Path) -> Path:
    return home / "keyring" / "signing.json"


def test_a_signature_is_good_for_its_purpose_and_data_alone(tmp_path: Path) -> None:
    keys = SigningKeys.open(tmp_path)
    made, signature = keys.sign("audit", b"root")
    assert keys.verify("audit", made, b"root", signature)
    assert SigningKeys.open(tmp_path).verify("audit", made, b"root", signature)
    assert not keys.verify("audit", made, b"toor", signature)
    assert not keys.verify("guest", made, b"root", signature)
    other, _ = keys.sign("guest", b"root")
    assert not keys.verify("guest", other, b"root", signature)
    assert not keys.verify("audit", "sig_none", b"root", signature)
    assert keys.sign("audit", b"root") == (made, signature)


def test_anyone_can_check_it_as_the_documents_say(tmp_path: Path) -> None:
    keys = SigningKeys.open(tmp_path)
    made, signature = keys.sign("audit", b"root")
    public = keys.public("audit")[made]
    Ed25519PublicKey.from_public_bytes(bytes.fromhex(public)).verify(signature, b"modu/audit\nroot")


@settings(max_examples=40, deadline=None)
@given(position=st.integers(0, 63), flip=st.integers(1, 255), cut=st.integers(0, 63))
def test_a_changed_or_shortened_signature_is_refused(
    tmp_path_factory: pytest.TempPathFactory, position: int, flip: int, cut: int
) -> None:
    keys = SigningKeys.open(tmp_path_factory.getbasetemp() / "flip")
    made, signature = keys.sign("audit", b"root")
    changed = bytearray(signature)
    changed[position] ^= flip
    assert not keys.verify("audit", made, b"root", bytes(changed))
    assert not keys.verify("audit", made, b"root", signature[:cut])


@pytest.mark.parametrize("public", ["", "zz" * 32, "00" * 31, "ff" * 32])
def test_what_is_no_public_key_is_refused(public: str) -> None:
    assert not check("audit", public, b"root", bytes(64))


def test_rotation_keeps_old_signatures_good_and_forgets_the_old_secret(tmp_path: Path) -> None:
    keys = SigningKeys.open(tmp_path)
    old, signature = keys.sign("audit", b"root")
    before = file(tmp_path).read_bytes()
    elsewhere = SigningKeys.open(tmp_path)
    new = keys.rotate("audit")
    assert keys.sign("audit", b"x")[0] == new == elsewhere.sign("audit", b"x")[0]
    assert elsewhere.verify("audit", old, b"root", signature)
    assert keys.public("audit").keys() == {old, new}
    secret = msgspec.json.decode(before)["keys"][0]["private"].encode()
    assert secret not in file(tmp_path).read_bytes()
    assert [path.name for path in (tmp_path / "keyring").iterdir() if path.suffix == ".new"] == []


def test_a_key_that_another_process_made_is_known(tmp_path: Path) -> None:
    keys = SigningKeys.open(tmp_path)
    program = (
        "import sys, pathlib; from moduai.store.signing import SigningKeys\n"
        "made, signature = SigningKeys.open(pathlib.Path(sys.argv[1])).sign('audit', b'root')\n"
        "print(made, signature.hex())"
    )
    output = subprocess.run(
        [sys.executable, "-c", program, tmp_path], check=True, capture_output=True, text=True
    )
    made, signature = output.stdout.split()
    assert keys.verify("audit", made, b"root", bytes.fromhex(signature))
    assert keys.sign("audit", b"root")[0] == made


def test_many_that_sign_first_agree_on_the_key(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        made = set(pool.map(lambda _: SigningKeys.open(tmp_path).sign("audit", b"x")[0], range(16)))
    assert len(made) == 1


def test_it_is_for_its_owner_only(tmp_path: Path) -> None:
    SigningKeys.open(tmp_path).sign("audit", b"x")
    assert file(tmp_path).parent.stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in file(tmp_path).parent.iterdir()} == {0o600}
    file(tmp_path).chmod(0o644)
    with pytest.raises(KeyringError, match="chmod 600"):
        SigningKeys.open(tmp_path)


def test_a_lost_one_is_named_and_not_replaced(tmp_path: Path) -> None:
    with pytest.raises(KeyringError, match="missing: put back"):
        SigningKeys.open(tmp_path, create=False)
    assert not file(tmp_path).exists()
    keys = SigningKeys.open(tmp_path)
    file(tmp_path).unlink()
    with pytest.raises(KeyringError, match="missing"):
        keys.sign("audit", b"x")


def test_a_damaged_one_is_refused(tmp_path: Path) -> None:
    SigningKeys.open(tmp_path).sign("audit", b"x")
    good = file(tmp_path).read_bytes()
    public = msgspec.json.decode(good)["keys"][0]["public"].encode()
    for bad in (b"", b"{", b"[]", b"\xff", good[: len(good) // 2], good.replace(public, b"00" * 32)):
        file(tmp_path).write_bytes(bad)
        with pytest.raises(KeyringError, match="damaged"):
            SigningKeys.open(tmp_path)


def test_an_unknown_purpose_is_a_mistake(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no purpose"):
        SigningKeys.open(tmp_path).sign("fun", b"x")


def test_an_id_is_of_its_public_key() -> None:
    assert key_id("00" * 32) == "sig_66687aadf862bd77"


def test_a_disk_that_takes_nothing_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keys = SigningKeys.open(tmp_path)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(KeyringError, match=r"signing.json cannot be written: No space"):
        keys.sign("audit", b"x")
    with pytest.raises(KeyringError, match="No space"):
        SigningKeys.open(tmp_path / "other")
    assert not list(tmp_path.rglob("*.new"))
    monkeypatch.undo()
    keys.sign("audit", b"x")
