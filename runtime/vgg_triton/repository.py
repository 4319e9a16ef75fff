"""Writing a bundle into a model repository: a model of one version, or the next version of a model."""

from __future__ import annotations

import os
import re
import shlex
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from vgg_runtime._internal.staging import staging_directory
from vgg_runtime._internal.validation import check_positive_int
from vgg_runtime.bundle.checksums import require_unchanged, sha256_of
from vgg_runtime.bundle.directory import Bundle, open_bundle
from vgg_runtime.bundle.manifest import InputSpec, Manifest, Variant
from vgg_runtime.errors import BundleError, ChecksumError, UsageError
from vgg_runtime.loading import choose_variant, read_lone_manifest
from vgg_triton.model_config import LABELS, Device, has_label_file, model_config

__all__ = ["TritonModel", "check_model", "write_model"]

# The names that Triton expects; the second is also what an ONNX model is called by default.
_CONFIG, _MODEL = "config.pbtxt", "model.onnx"

_DEFAULT_MAX_BATCH = 8

# In URLs and on the file system a name is itself.
_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]*")


@dataclass(frozen=True)
class TritonModel:
    """A version of a model that was written.

    Attributes:
        directory: the folder of the model, named as clients name it; the model repository is the folder around it.
        version: 1, or one more than the highest that was there.
        variant: what it is.
        input: what clients send.

    Examples:
        >>> from vgg_triton import write_model
        >>> model = write_model("slim_vgg.bundle", "tmp_models", name="shoes")
        >>> model.directory.as_posix(), model.version
        ('tmp_models/shoes', 1)
    """

    directory: Path
    version: int
    variant: Variant
    input: InputSpec

    def summary(self) -> list[str]:
        """Return what was written, what it takes and how to serve it, as lines for a terminal."""
        shape = " x ".join(map(str, self.input.image_shape))
        made_by = "before scaling" if self.input.takes_pixels else "preprocessed"
        return [
            f"{self.directory / str(self.version)}: {self.variant.name} ({self.variant.bytes / 1e6:.1f} MB)",
            f"note: clients send images as {self.input.dtype} {self.input.layout[1:]} {shape}, {made_by}",
            f"tritonserver --model-repository {shlex.quote(str(self.directory.parent))}",
        ]


def write_model(
    bundle: str | os.PathLike[str],
    repository: str | os.PathLike[str],
    *,
    name: str | None = None,
    variant: str | None = None,
    max_batch: int | None = None,
    instances: int | None = None,
    device: Device | None = None,
    key: str | os.PathLike[str] | None = None,
) -> TritonModel:
    """Write a variant of a bundle into a model repository, as a new model or as the next version of one.

    A running server sees the model, or the version, whole or not at all. Older versions and ``config.pbtxt`` stay as
    they are.

    Args:
        bundle: directory that vgg-export wrote.
        repository: directory of models; it is made if it is missing.
        name: of the model; by default that of the bundle without ``.bundle``.
        variant: name of an ONNX variant, or "recommended"; by default as :class:`~vgg_runtime.Classifier` chooses.
        max_batch: how many images the server may gather into one batch; by default 8.
        instances: sessions side by side on each device; by default 1.
        device: "cpu", "cuda", or by default "auto": the GPUs if the server has some.
        key: PEM file of the public key that must have signed the bundle; None accepts any.

    Raises:
        BundleError: the bundle is damaged, lacks the variant, or the variant is not ONNX.
        ChecksumError: a file of the bundle has changed.
        MissingCapabilityError: the repository cannot be written to.
        SignatureError: the bundle is not signed by ``key``.
        UsageError: an argument is out of range; or the model exists, and takes or returns something else, has been
            written by others, or ``max_batch``, ``instances`` or ``device`` is given, which its configuration has.

    Examples:
        >>> from vgg_triton import write_model
        >>> write_model("slim_vgg.bundle", "models", variant="onnx-fp32").version
        1
        >>> write_model("slim_vgg.bundle", "models", variant="onnx-int8-static").version
        2
    """
    directory = check_model(repository, bundle, name=name)
    source = open_bundle(bundle, key=key)
    entry = _choose_onnx(source, variant)
    settings = {"max_batch": max_batch, "instances": instances, "device": device}
    if exists := directory.exists():
        _require_same_interface(directory, source.manifest)
        _require_unset(settings, directory)
    config = _config(directory.name, source.manifest, max_batch, instances, device)
    version = max(_versions(directory), default=0) + 1
    # A server that starts refuses a repository with half a model in it, under whatever name. So it is staged beside the
    # repository, unless that is where a file system begins.
    repository = directory.parent
    beside = repository if repository.is_mount() else repository.absolute().parent
    with staging_directory("the model", repository, within=beside) as staging:
        repository.mkdir(exist_ok=True)
        _copy_variant(source, entry, staging / str(version))
        if exists:
            (staging / str(version)).rename(directory / str(version))
        else:
            (staging / _CONFIG).write_text(config, encoding="utf-8")
            _write_labels(source.manifest, staging / LABELS)
            staging.rename(directory)
    return TritonModel(directory, version, entry, source.manifest.input)


def check_model(repository: str | os.PathLike[str], bundle: str | os.PathLike[str], *, name: str | None = None) -> Path:
    """Return the folder of the model that a bundle would be written to, if it could be.

    Raises:
        UsageError: ``name`` is not one for URLs, or that folder exists and was not written by :func:`write_model`.
    """
    if name is None:
        stem = Path(bundle).absolute().name.removesuffix(".bundle")
        name = re.sub(r"[^A-Za-z0-9_.-]", "_", stem).lstrip(".") or "model"
    elif not _NAME.fullmatch(name):
        raise UsageError(f"`name` must consist of A-Z, a-z, 0-9, '_', '-' and inner '.', got {name!r}.")
    directory = Path(repository) / name
    if os.path.lexists(directory) and not ((directory / _CONFIG).is_file() and _versions(directory)):
        raise UsageError(
            f"{directory} exists and is not a model of this kind: it has no {_CONFIG}, or no version.",
            hint="Give another `name`, or move it elsewhere.",
        )
    return directory


def _versions(directory: Path) -> list[int]:
    """The versions of a model: the folders whose names are numbers, as Triton counts them."""
    return [int(path.parent.name) for path in directory.glob(f"[1-9]*/{_MODEL}") if path.parent.name.isdecimal()]


def _choose_onnx(bundle: Bundle, name: str | None) -> Variant:
    variant, _ = choose_variant(bundle, name)
    if variant.format != "onnx":
        onnx = ", ".join(each.name for each in bundle.manifest.variants if each.format == "onnx")
        raise BundleError(
            f"{variant.name} is {variant.format}; Triton runs the ONNX variants.",
            hint=f"They are {onnx}." if onnx else "Export with `formats=['onnx']`.",
        )
    return variant


def _require_same_interface(directory: Path, manifest: Manifest) -> None:
    """Clients do not name a version: what they send, and how they read the answer, must be right for all of them."""
    latest = read_lone_manifest(directory / str(max(_versions(directory))) / _MODEL)
    for aspect in ("input", "output", "labels", "preprocessing"):
        if getattr(latest, aspect) != getattr(manifest, aspect):
            raise UsageError(
                f"{directory} has another {aspect} than this bundle, and the versions of a model share it.",
                hint="Give another `name`.",
            )


def _require_unset(settings: Mapping[str, int | str | None], directory: Path) -> None:
    for parameter, value in settings.items():
        if value is not None:
            raise UsageError(
                f"{directory / _CONFIG} has the settings of this model, got `{parameter}={value}`.",
                hint=f"Omit `{parameter}`, and edit that file; it applies to every version.",
            )


def _config(name: str, manifest: Manifest, max_batch: int | None, instances: int | None, device: Device | None) -> str:
    if max_batch is not None and manifest.input.batch_size is not None:
        raise UsageError(
            f"the bundle has a fixed batch of {manifest.input.batch_size}, got `max_batch={max_batch}`.",
            hint="Omit `max_batch`, or export with `batch='dynamic'`.",
        )
    if device not in (None, *get_args(Device)):
        raise UsageError(f"`device` must be 'auto', 'cpu' or 'cuda', got {device!r}.")
    return model_config(
        name,
        manifest,
        max_batch=_DEFAULT_MAX_BATCH if max_batch is None else check_positive_int("max_batch", max_batch),
        instances=1 if instances is None else check_positive_int("instances", instances),
        device=device or "auto",
    )


def _copy_variant(bundle: Bundle, variant: Variant, directory: Path) -> None:
    """Copy the files of a variant, and compare the copies with its checksums."""
    directory.mkdir()
    for name, digest in variant.sha256.items():
        # The model names its external data, which is beside it.
        copy = directory / (_MODEL if name == variant.file else Path(name).name)
        shutil.copyfile(bundle.path(name), copy)
        require_unchanged([] if sha256_of(copy) == digest else [name], as_error=ChecksumError)


def _write_labels(manifest: Manifest, file: Path) -> None:
    if has_label_file(manifest):
        lines = [" ".join(label.splitlines()) for label in manifest.labels or ()]
        file.write_text("\n".join(lines) + "\n", encoding="utf-8")
