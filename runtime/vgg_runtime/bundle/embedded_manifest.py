"""The manifest that travels inside every model file; what is known only once the file is written is not in it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path

from vgg_runtime.bundle.directory import MANIFEST
from vgg_runtime.bundle.manifest import MAX_MANIFEST_BYTES, Manifest
from vgg_runtime.errors import BundleError, VggDeployError

__all__ = ["METADATA_KEY", "check_manifest_unchanged", "torchscript_metadata"]

# Where an ONNX or TorchScript file carries the manifest, as JSON.
METADATA_KEY = "vgg_deploy.json"

_KNOWN_LATER = ("variants", "golden", "calibration", "compression", "left_out")


def check_manifest_unchanged(
    manifest: Manifest, metadata: Mapping[str, str], *, source: str, as_error: type[VggDeployError]
) -> None:
    """Check that ``manifest`` is what a model file carries, if that carries anything.

    The checksums of the files stand in the manifest; this is what vouches for the manifest itself.

    Args:
        metadata: of the model file.
        source: names the file in errors.
        as_error: what to raise where they differ.

    Raises:
        BundleError: the file carries something that is no manifest.
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
    """Return the manifest that the TorchScript archive at ``file`` carries, read without PyTorch; nothing without one.

    Raises:
        BundleError: the file is no archive, or an unreadable one.
    """
    from zipfile import ZipFile

    try:
        with ZipFile(file) as archive:
            carried = [entry for entry in archive.infolist() if entry.filename.endswith(f"/extra/{METADATA_KEY}")]
            if any(entry.file_size > MAX_MANIFEST_BYTES for entry in carried):
                raise ValueError("what it carries is too large for a manifest")
            return dict.fromkeys([METADATA_KEY], archive.read(carried[0]).decode()) if carried else {}
    except Exception as error:  # zipfile and zlib raise many kinds on a file that is no sound archive
        raise BundleError(f"{file} is not a readable TorchScript archive: {error or type(error).__name__}.") from error
