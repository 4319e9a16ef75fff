from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from vgg_runtime.bundle.directory import open_bundle
from vgg_runtime.bundle.signature import read_private_key, read_public_key, signature_of
from vgg_runtime.errors import BundleError, KeyFileError, MissingCapabilityError, SignatureError

EditManifest = Callable[..., None]

OPENSSL = shutil.which("openssl")


def refuse(bundle: Path, key: Path) -> str:
    """Open the bundle, which must be refused for its signature; return the message."""
    open_bundle(bundle)  # without a key there is nothing wrong with it
    with pytest.raises(SignatureError) as refusal:
        open_bundle(bundle, key=key)
    return refusal.value.message


def test_signed_bundle_opens_with_the_key(signed_bundle: Path, signer: Any) -> None:
    assert open_bundle(signed_bundle, key=signer.public).key == signer.public
    assert open_bundle(signed_bundle, key=str(signer.public)).changed_files() == []


def test_bundle_without_signature_is_refused(bundle: Path, signer: Any) -> None:
    assert refuse(bundle, signer.public) == f"{bundle} is not signed: it has no bundle.json.sig."


def test_edited_manifest_is_refused(signed_bundle: Path, signer: Any, edit_manifest: EditManifest) -> None:
    edit_manifest(signed_bundle, lambda data: data["variants"][0]["tolerance"].update(min_snr_db=0.0))
    assert "not the signature of bundle.json" in refuse(signed_bundle, signer.public)


def test_manifest_with_one_more_space_is_refused(signed_bundle: Path, signer: Any) -> None:
    with (signed_bundle / "bundle.json").open("ab") as file:
        file.write(b" ")
    assert "not the signature of bundle.json" in refuse(signed_bundle, signer.public)


def test_manifest_is_not_parsed_before_it_is_verified(signed_bundle: Path, signer: Any) -> None:
    (signed_bundle / "bundle.json").write_text("{")
    with pytest.raises(SignatureError):
        open_bundle(signed_bundle, key=signer.public)


def test_signature_of_another_bundle_is_refused(
    make_bundle: Callable[..., Path], sign: Callable[[Path], Path], signer: Any, tmp_path: Path
) -> None:
    other = sign(make_bundle(labels=("a", "b", "c"))).rename(tmp_path / "other.bundle")
    bundle = sign(make_bundle())
    shutil.copy(other / "bundle.json.sig", bundle)
    assert "not the signature of bundle.json" in refuse(bundle, signer.public)


def test_signature_by_another_key_is_refused(
    signed_bundle: Path, make_keys: Callable[[Path, str], Any], tmp_path: Path
) -> None:
    assert "another key signed it" in refuse(signed_bundle, make_keys(tmp_path, "other").public)


def test_signature_of_the_bare_manifest_is_refused(bundle: Path, signer: Any) -> None:
    """A key that signs anything else, such as a JSON file that someone hands in, signs no bundle by that."""
    key = load_pem_private_key(signer.private.read_bytes(), password=None)
    assert isinstance(key, Ed25519PrivateKey)
    (bundle / "bundle.json.sig").write_bytes(key.sign((bundle / "bundle.json").read_bytes()))
    assert "not the signature of bundle.json" in refuse(bundle, signer.public)


@pytest.mark.parametrize(
    "change", [lambda signature: b"", lambda signature: signature[:-1], lambda signature: signature + b"\0"]
)
def test_signature_of_another_length_is_refused(
    signed_bundle: Path, signer: Any, change: Callable[[bytes], bytes]
) -> None:
    file = signed_bundle / "bundle.json.sig"
    file.write_bytes(change(file.read_bytes()))
    assert "not the signature of bundle.json" in refuse(signed_bundle, signer.public)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no named pipes of this kind")
@pytest.mark.parametrize("name", ["bundle.json", "bundle.json.sig"])
def test_pipe_in_a_signed_bundle_is_not_waited_for(signed_bundle: Path, signer: Any, name: str) -> None:
    (signed_bundle / name).unlink()
    os.mkfifo(signed_bundle / name)
    with pytest.raises((SignatureError, BundleError), match="cannot be read: it is a directory, a pipe or a device"):
        open_bundle(signed_bundle, key=signer.public)


@pytest.mark.skipif(OPENSSL is None, reason="there is no openssl here")
def test_openssl_makes_the_same_keys_and_signatures(bundle: Path, tmp_path: Path) -> None:
    def openssl(*arguments: str | Path) -> None:
        subprocess.run([str(OPENSSL), *arguments], check=True, capture_output=True)

    private, public, message = tmp_path / "key.pem", tmp_path / "pub.pem", tmp_path / "message"
    openssl("genpkey", "-algorithm", "ed25519", "-out", private)
    openssl("pkey", "-in", private, "-pubout", "-out", public)
    manifest = (bundle / "bundle.json").read_bytes()
    message.write_bytes(b"vgg-deploy bundle.json 1\n" + manifest)
    openssl("pkeyutl", "-sign", "-rawin", "-inkey", private, "-in", message, "-out", bundle / "bundle.json.sig")
    open_bundle(bundle, key=public)
    assert (bundle / "bundle.json.sig").read_bytes() == signature_of(manifest, read_private_key(private))


def pem_files(folder: Path) -> dict[str, Path]:
    """Files that hold no Ed25519 key, or not in the clear, by what they are."""
    ed25519, x25519 = Ed25519PrivateKey.generate(), X25519PrivateKey.generate()
    plain, subject = (Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()), PublicFormat.SubjectPublicKeyInfo
    contents = {
        "garbage": b"\x93NUMPY",
        "empty": b"",
        "private": ed25519.private_bytes(*plain),
        "public": ed25519.public_key().public_bytes(Encoding.PEM, subject),
        "encrypted": ed25519.private_bytes(*plain[:2], BestAvailableEncryption(b"secret")),
        "other private": x25519.private_bytes(*plain),
        "other public": x25519.public_key().public_bytes(Encoding.PEM, subject),
    }
    files = {name: folder / f"{name}.pem" for name in [*contents, "absent"]}
    for name, content in contents.items():
        files[name].write_bytes(content)
    return files


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("garbage", "does not hold a private Ed25519 key"),
        ("empty", "does not hold a private Ed25519 key"),
        ("public", "does not hold a private Ed25519 key"),
        ("encrypted", "is encrypted"),
        ("other private", "does not hold a private Ed25519 key"),
        ("absent", "cannot be read: No such file or directory"),
    ],
)
def test_what_is_no_private_key_is_refused(tmp_path: Path, name: str, message: str) -> None:
    with pytest.raises(KeyFileError, match=message):
        read_private_key(pem_files(tmp_path)[name])


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("garbage", "does not hold a public Ed25519 key"),
        ("private", "does not hold a public Ed25519 key"),
        ("other public", "does not hold a public Ed25519 key"),
        ("absent", "cannot be read: No such file or directory"),
    ],
)
def test_what_is_no_public_key_is_refused(tmp_path: Path, name: str, message: str) -> None:
    with pytest.raises(KeyFileError, match=message):
        read_public_key(pem_files(tmp_path)[name])


def test_missing_package_names_its_extra(signed_bundle: Path, signer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cryptography", None)
    open_bundle(signed_bundle)
    for call in (lambda: open_bundle(signed_bundle, key=signer.public), lambda: read_private_key(signer.private)):
        with pytest.raises(MissingCapabilityError) as missing:
            call()
        assert missing.value.hint == 'Install the extra: pip install "vgg-deploy[sign]".'
