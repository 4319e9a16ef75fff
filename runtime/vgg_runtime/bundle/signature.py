"""The signature of a bundle: Ed25519 over its manifest, which has the SHA-256 of every file that a prediction runs on.

Keys are PEM files as openssl writes them. The package cryptography, which the extra ``sign`` installs, is needed only
where a key is.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from vgg_runtime.errors import KeyFileError, MissingCapabilityError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

__all__ = ["SIGNATURE_BYTES", "is_signed_by", "read_private_key", "read_public_key", "signature_of"]

SIGNATURE_BYTES = 64

# What is signed begins with this line, so that what the key signed for another purpose is no signature of a bundle.
_PURPOSE = b"vgg-deploy bundle.json 1\n"


def read_private_key(file: str | os.PathLike[str]) -> Ed25519PrivateKey:
    """Return the key in a file that ``openssl genpkey -algorithm ed25519`` wrote.

    Raises:
        KeyFileError: the file is unreadable, is encrypted, or holds something else.
        MissingCapabilityError: the package cryptography is missing.
    """
    _require_cryptography()
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    def load(pem: bytes) -> object:
        try:
            return load_pem_private_key(pem, password=None)
        except TypeError as error:  # a password is needed
            raise KeyFileError(
                f"the private key in {file} is encrypted.",
                hint=f"Decrypt it for the export: openssl pkey -in {file} -out DECRYPTED.pem.",
            ) from error

    key = _load_key(file, load)
    if not isinstance(key, Ed25519PrivateKey):
        raise KeyFileError(
            f"{file} does not hold a private Ed25519 key in PEM form.",
            hint="Make one: openssl genpkey -algorithm ed25519 -out KEY.pem.",
        )
    return key


def read_public_key(file: str | os.PathLike[str]) -> Ed25519PublicKey:
    """Return the key in a file that ``openssl pkey -pubout`` wrote.

    Raises:
        KeyFileError: the file is unreadable, or holds something else.
        MissingCapabilityError: the package cryptography is missing.
    """
    _require_cryptography()
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    key = _load_key(file, load_pem_public_key)
    if not isinstance(key, Ed25519PublicKey):
        raise KeyFileError(
            f"{file} does not hold a public Ed25519 key in PEM form.",
            hint="Write it where the private key is: openssl pkey -in KEY.pem -pubout -out PUB.pem.",
        )
    return key


def signature_of(manifest: bytes, key: Ed25519PrivateKey) -> bytes:
    """Return the signature, 64 bytes, of the contents of ``bundle.json``."""
    return key.sign(_PURPOSE + manifest)


def is_signed_by(key: Ed25519PublicKey, manifest: bytes, signature: bytes) -> bool:
    """Return whether ``signature`` is that of ``manifest`` by the owner of ``key``."""
    from cryptography.exceptions import InvalidSignature

    try:
        key.verify(signature, _PURPOSE + manifest)
    except InvalidSignature:
        return False
    return True


def _load_key(file: str | os.PathLike[str], load: Callable[[bytes], object]) -> object:
    """Return what ``load`` makes of the contents of ``file``, None if it can make nothing of them."""
    from cryptography.exceptions import UnsupportedAlgorithm

    try:
        return load(Path(file).read_bytes())
    except OSError as error:
        raise KeyFileError(f"the key {file} cannot be read: {error.strerror}.") from error
    except (ValueError, UnsupportedAlgorithm):
        return None


def _require_cryptography() -> None:
    try:
        import cryptography  # noqa: F401 - whether it is there
    except ImportError as error:
        raise MissingCapabilityError(
            f"signatures need the package cryptography, which cannot be imported: {error}.",
            hint='Install the extra: pip install "vgg-deploy[sign]".',
        ) from error
