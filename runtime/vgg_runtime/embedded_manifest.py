"""The manifest that travels inside every model file; what is known only once the file is written is not in it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path

from vgg_runtime.errors import BundleError
from vgg_runtime.manifest import Manifest

__all__ = ["METADATA_KEY", "differing_fields", "torchscript_metadata"]

# Where an ONNX or TorchScript file carries the manifest, as JSON.
METADATA_KEY = "vgg_deploy.json"

_KNOWN_LATER = ("variants", "golden", "calibration")


def differing_fields(manifest: Manifest, metadata: Mapping[str, str], *, source: str) -> list[str]:
    """Return the fields in which ``manifest`` is not what a model file carries; none where that carries nothing.

    The checksums of the files stand in the manifest; this is what vouches for the manifest itself.

    Args:
        metadata: of the model file.
        source: names the file in errors.

    Raises:
        BundleError: the file carries something that is no manifest.
    """
    if METADATA_KEY not in metadata:
        return []
    carried = Manifest.parse(metadata[METADATA_KEY], source=f"the metadata of {source}")
    names = [field.name for field in dataclasses.fields(Manifest) if field.name not in _KNOWN_LATER]
    return [name for name in names if getattr(manifest, name) != getattr(carried, name)]


def torchscript_metadata(file: Path) -> dict[str, str]:
    """Return what the TorchScript archive at ``file`` carries besides the network, read without PyTorch.

    Raises:
        BundleError: the file is no archive, or an unreadable one.
    """
    from zipfile import BadZipFile, ZipFile

    try:
        with ZipFile(file) as archive:
            entries = [name for name in archive.namelist() if "/extra/" in name]
            return {name.rpartition("/")[2]: archive.read(name).decode() for name in entries}
    except (OSError, BadZipFile, ValueError) as error:
        raise BundleError(f"{file} is no readable TorchScript archive: {error}.") from error
