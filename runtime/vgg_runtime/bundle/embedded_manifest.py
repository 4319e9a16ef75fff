"""The copy of the manifest inside every model file, without what is known only after that file is written."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path

from vgg_runtime._internal.signal_errors import reraise_from_signal_handler
from vgg_runtime.bundle.directory import MANIFEST
from vgg_runtime.bundle.manifest import MAX_MANIFEST_BYTES, Manifest
from vgg_runtime.errors import BundleError, VggDeployError

__all__ = ["METADATA_KEY", "check_manifest_unchanged", "torchscript_metadata"]

# The metadata key under which an ONNX or TorchScript file carries the manifest, as JSON.
METADATA_KEY = "vgg_deploy.json"

_KNOWN_LATER = ("variants", "golden", "calibration", "compression", "left_out", "checksum")


def check_manifest_unchanged(
    manifest: Manifest, metadata: Mapping[str, str], *, source: str, as_error: type[VggDeployError]
) -> None:
    """Check that ``manifest`` equals the copy in a model file, if there is one.

    The manifest has the checksums of the files; this check covers the manifest itself.

    Args:
        metadata: metadata of the model file.
        source: names the file in errors.
        as_error: the error to raise if they differ.

    Raises:
        BundleError: the copy is not a manifest.
    """
    if METADATA_KEY not in metadata:
        return
    carried = Manifest.parse(metadata[METADATA_KEY], source=f"the metadata of {source}")
    names = [field.name for field in dataclasses.fields(Manifest) if field.name not in _KNOWN_LATER]
    if differing := [name for name in names if getattr(manifest, name) != getattr(carried, name)]:
        raise as_error(
            f"{MANIFEST} was changed after it was written: {', '.join(differing)} of it and of {source} differ.",
            hint="Copy the bundle again from where it was exported.",
        )


def torchscript_metadata(file: Path) -> dict[str, str]:
    """Return the metadata that the TorchScript archive ``file`` carries, read without PyTorch; empty without any.

    Raises:
        BundleError: the file is not a readable archive.
    """
    from zipfile import ZipFile

    try:
        with ZipFile(file) as archive:
            carried = [entry for entry in archive.infolist() if entry.filename.endswith(f"/extra/{METADATA_KEY}")]
            if any(entry.file_size > MAX_MANIFEST_BYTES for entry in carried):
                raise ValueError("its metadata is too large for a manifest")
            return dict.fromkeys([METADATA_KEY], archive.read(carried[0]).decode()) if carried else {}
    except Exception as error:  # zipfile and zlib raise many kinds of errors on a damaged archive
        reraise_from_signal_handler(error)
        raise BundleError(f"{file} is not a readable TorchScript archive: {error or type(error).__name__}.") from error
