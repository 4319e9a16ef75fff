"""Opening a bundle: reading its manifest, and checking that the directory holds its files and no others."""

from __future__ import annotations

import json
import os
import stat
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import NoReturn

from vgg_runtime.bundle.checksums import sha256_of
from vgg_runtime.bundle.manifest import MAX_MANIFEST_BYTES, Manifest, Variant, matches_checksum
from vgg_runtime.bundle.signature import SIGNATURE_BYTES, is_signed_by, read_public_key
from vgg_runtime.errors import BundleError, SignatureError

__all__ = [
    "GOLDEN",
    "MANIFEST",
    "MEASURED",
    "REPORT",
    "SIGNATURE",
    "Bundle",
    "Recommendation",
    "open_bundle",
    "read_bundle",
    "read_recommendation",
]

MANIFEST, GOLDEN, MEASURED, REPORT = "bundle.json", "golden.npz", "measured.json", "report.md"
SIGNATURE = "bundle.json.sig"

# The manifest names neither itself and its signature, nor what depends on the exporting machine. To run a bundle,
# nothing is read from the latter but which of the manifest's variants is recommended.
_UNNAMED = {MANIFEST, SIGNATURE, MEASURED, REPORT}


@dataclass(frozen=True)
class Bundle:
    """A directory of variants and its manifest.

    Attributes:
        directory: its path.
        manifest: the contents of ``bundle.json``.
        key: PEM file of the public key whose signature was verified; None if none was asked for.

    Examples:
        >>> from vgg_runtime import open_bundle
        >>> bundle = open_bundle("slim_vgg.bundle")
        >>> bundle.changed_files()
        []
        >>> bundle.path(bundle.manifest.variant("onnx-fp32").file).as_posix()
        'slim_vgg.bundle/onnx-fp32/model.onnx'
    """

    directory: Path
    manifest: Manifest
    key: Path | None = None

    def path(self, name: str) -> Path:
        """Return the path of the file that the manifest calls ``name``."""
        return self.directory / name

    @property
    def checksums(self) -> dict[str, str]:
        """The SHA-256 in the manifest of every file, by name."""
        golden = {GOLDEN: self.manifest.golden} if self.manifest.golden else {}
        return golden | {name: digest for variant in self.manifest.variants for name, digest in variant.sha256.items()}

    def unexpected_files(self) -> list[str]:
        """Return the names of the files and links in the directory that are not part of the bundle."""
        return sorted(_names_below(self.directory) - self.checksums.keys() - _UNNAMED)

    def changed_files(self, variant: Variant | None = None) -> list[str]:
        """Return the names of the files, of ``variant`` or of all, whose SHA-256 differs from the manifest.

        The manifest is one of all, if it states its own.

        Raises:
            BundleError: a file is unreadable.
        """
        expected = self.checksums if variant is None else variant.sha256
        try:
            changed = [name for name, digest in expected.items() if sha256_of(self.path(name)) != digest]
            if variant is None and not self._manifest_is_as_written():
                changed.insert(0, MANIFEST)
        except OSError as error:
            raise BundleError(f"a file of the bundle cannot be read: {error}.") from error
        return changed

    def _manifest_is_as_written(self) -> bool:
        """Whether the manifest has the checksum that it states; True for older ones, which state none."""
        if self.manifest.checksum is None:
            return True
        return matches_checksum(_read(self.path(MANIFEST), max_bytes=MAX_MANIFEST_BYTES), self.manifest.checksum)


def open_bundle(path: str | os.PathLike[str], *, key: str | os.PathLike[str] | None = None) -> Bundle:
    """Read the manifest of the bundle at ``path`` and check that the directory has exactly its files.

    Args:
        path: directory that vgg-export wrote. For checksums, call :meth:`Bundle.changed_files`.
        key: PEM file of the public key that must have signed the manifest; None accepts any bundle.

    Raises:
        BundleError: the manifest is missing, unreadable, without variants or golden outputs that it speaks of, or names
            a path outside; or a file is missing, unexpected or not a plain file.
        KeyFileError: there is no such key in that file.
        MissingCapabilityError: a key needs the extra ``sign``.
        SignatureError: the bundle is not signed, or not by that key, or its manifest has changed since.

    Examples:
        >>> from vgg_runtime import open_bundle
        >>> open_bundle("slim_vgg.bundle", key="signer.pub.pem").manifest.labels[:3]
        ('t-shirt-top', 'trouser', 'pullover')
    """
    bundle = read_bundle(path, key=key)
    _check_whole(bundle)
    _check_files(bundle)
    return bundle


def read_bundle(path: str | os.PathLike[str], *, key: str | os.PathLike[str] | None = None) -> Bundle:
    """Read the manifest of the bundle at ``path``, without checking the other files.

    Args:
        key: as :func:`open_bundle` takes it.

    Raises:
        BundleError: there is no bundle, or its manifest is unreadable or names a path outside.
        KeyFileError, MissingCapabilityError, SignatureError: as :func:`open_bundle`.
    """
    directory = Path(path)
    if not os.path.isdir(directory):  # False, not an error, if the name is too long or a folder is out of reach
        reason = f"{directory} is a file" if os.path.isfile(directory) else f"there is no bundle at {directory}"
        raise BundleError(f"{reason}.", hint="A bundle is a directory that vgg-export wrote; name that.")
    try:
        text = _read(directory / MANIFEST, max_bytes=MAX_MANIFEST_BYTES)
    except FileNotFoundError as error:
        raise BundleError(
            f"{directory} is not a bundle: it has no {MANIFEST}.", hint="Write one with vgg-export."
        ) from error
    except OSError as error:
        raise BundleError(f"the manifest of {directory} cannot be read: {error}.") from error
    if len(text) > MAX_MANIFEST_BYTES:
        raise BundleError(f"{directory / MANIFEST} is too large to be a bundle manifest (more than 16 MiB).")
    if key is not None:
        _require_signature(directory, text, key)
    manifest = Manifest.parse(text, source=str(directory / MANIFEST))
    bundle = Bundle(directory, manifest, None if key is None else Path(key))
    for name in sorted(bundle.checksums):
        _check_inside(name)
    return bundle


def _read(file: Path, *, max_bytes: int) -> bytes:
    """The contents of ``file``; of a longer one, one byte more than ``max_bytes``."""
    if not stat.S_ISREG(file.stat().st_mode):  # a pipe would be waited for
        raise OSError("it is a directory, a pipe or a device, not a file")
    with file.open("rb") as opened:
        return opened.read(max_bytes + 1)


def _require_signature(directory: Path, manifest: bytes, key: str | os.PathLike[str]) -> None:
    public_key = read_public_key(key)
    try:
        signature = _read(directory / SIGNATURE, max_bytes=SIGNATURE_BYTES)
    except FileNotFoundError as error:
        raise SignatureError(
            f"{directory} is not signed: it has no {SIGNATURE}.", hint="Export it again with vgg-export --sign KEY."
        ) from error
    except OSError as error:
        raise SignatureError(f"the signature of {directory} cannot be read: {error}.") from error
    if not is_signed_by(public_key, manifest, signature):
        raise SignatureError(
            f"{directory / SIGNATURE} is not the signature of {MANIFEST} by the key {key}: the manifest was changed "
            "after it was signed, or another key signed it.",
            hint="Do not use this bundle; copy it again from where it was exported, and compare the keys.",
        )


@dataclass(frozen=True)
class Recommendation:
    """The best variant on the machine that exported.

    Attributes:
        processor: the CPU of that machine; None if not recorded.
    """

    variant: str
    processor: str | None


def read_recommendation(bundle: Bundle) -> Recommendation | None:
    """Return the variant that ``measured.json`` recommends; None if nothing was timed or recommended.

    Raises:
        BundleError: the file is unreadable, or not in the form that vgg-export writes.
    """
    file = bundle.path(MEASURED)
    try:
        measured = json.loads(_read(file, max_bytes=MAX_MANIFEST_BYTES))
        recommended, processor = measured["recommended"], measured["machine"]["processor"]
    except FileNotFoundError:
        return None
    except OSError as error:
        raise BundleError(f"{file} cannot be read: {error}.") from error
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise BundleError(
            f"{file} is not in the form that vgg-export writes, so the recommended variant is unknown.",
            hint=f"Name one: {', '.join(variant.name for variant in bundle.manifest.variants)}.",
        ) from error
    if all(variant.name != recommended for variant in bundle.manifest.variants):
        return None
    return Recommendation(recommended, processor if isinstance(processor, str) else None)


def _check_whole(bundle: Bundle) -> None:
    """Refuse a manifest that was cut down together with the files: what is left of it says what there was."""
    manifest, again = bundle.manifest, _copy_again(bundle)
    if not manifest.variants:
        raise BundleError(f"{bundle.directory / MANIFEST} names no variant; a bundle has at least one.", hint=again)
    verified = [variant.name for variant in manifest.variants if variant.parity is not None]
    if verified and manifest.golden is None:
        raise BundleError(
            f"{bundle.directory / MANIFEST} says that {', '.join(verified)} was verified, and names no {GOLDEN}, which "
            "is written then.",
            hint=again,
        )


def _check_files(bundle: Bundle) -> None:
    named, present, again = set(bundle.checksums), _names_below(bundle.directory), _copy_again(bundle)
    if missing := sorted(named - present):
        raise BundleError(f"the bundle lacks {', '.join(missing)}, which its manifest names.", hint=again)
    if extra := bundle.unexpected_files():
        raise BundleError(f"the bundle has files that its manifest does not name: {', '.join(extra)}.", hint=again)
    if links := [name for name in sorted(present) if not _is_plain_file(bundle.path(name))]:
        raise BundleError(f"the bundle has links or special files: {', '.join(links)}.", hint=again)


def _copy_again(bundle: Bundle) -> str:
    return f"Copy the bundle to {bundle.directory} again, from where it was exported."


def _names_below(directory: Path) -> set[str]:
    """The paths of files, and of links to anything, relative to ``directory``."""

    def refuse(error: OSError) -> NoReturn:
        raise BundleError(f"a folder of the bundle cannot be read: {error}.") from error

    return {
        path.relative_to(directory).as_posix()
        for folder, folders, files in os.walk(directory, onerror=refuse)
        for path in (Path(folder, name) for name in (*files, *folders))
        if path.is_symlink() or not path.is_dir()
    }


def _check_inside(name: str) -> None:
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or "\\" in name or ":" in name or path.as_posix() != name:
        raise BundleError(f"the manifest names {name!r}, which is not a plain path inside the bundle.")


def _is_plain_file(path: Path) -> bool:
    return path.is_file() and not path.is_symlink()
