"""Loading the model of a classifier: a variant of a bundle, or a lone file that vgg-export wrote."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from vgg_runtime.backends.base import Backend, BackendChoice, SessionConfig
from vgg_runtime.backends.registry import open_backend
from vgg_runtime.bundle.checksums import PendingChecksums
from vgg_runtime.bundle.directory import Bundle, open_bundle, read_recommendation
from vgg_runtime.bundle.embedded_manifest import METADATA_KEY, check_manifest_unchanged
from vgg_runtime.bundle.inspection import inspect_model
from vgg_runtime.bundle.manifest import InputArray, Manifest, Variant
from vgg_runtime.errors import BundleError, UsageError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = [
    "ENGINES",
    "RECOMMENDED",
    "CheckedBackend",
    "OpenedModel",
    "Verify",
    "choose_variant",
    "open_in_bundle",
    "open_lone_file",
    "open_model",
    "read_lone_manifest",
]

# Whether files are compared with their checksums: once on this machine until they change, "always", or not at all.
Verify = bool | Literal["always"]

# The backend that runs a format by default.
ENGINES = {"onnx": "onnxruntime", "torchscript": "torchscript"}

# The name that stands for the best variant on the machine that exported.
RECOMMENDED = "recommended"

# The format that a backend runs; backends that plug in may run any.
_RUNS = {"onnxruntime": "onnx", "openvino": "onnx", "torchscript": "torchscript"}


@dataclass(frozen=True)
class OpenedModel:
    """A loaded model, and what is known about it.

    Attributes:
        variant: its name; for a lone file, the name of the file.
        variant_reason: why this one was chosen.
        choice: the backend that loaded it.
        load: loads it again, as a forked process must.
    """

    manifest: Manifest
    variant: str
    variant_reason: str
    choice: BackendChoice
    load: Callable[[], Backend]
    backend: Backend


def open_model(
    path: Path,
    variant: str | None,
    backend: str | None,
    placement: SessionConfig,
    *,
    verify: Verify,
    key: str | os.PathLike[str] | None,
) -> OpenedModel:
    """Load a variant of the bundle at ``path``, or the lone file there.

    Raises:
        BundleError, KeyFileError, MissingCapabilityError, SignatureError: as :func:`open_in_bundle` and
            :func:`open_lone_file`.
        UsageError: ``verify`` has another value, or is False although there is a key; or a variant or a key was named
            although ``path`` is a file.
    """
    if verify not in (True, False, "always"):
        raise UsageError(f"`verify` must be True, False or 'always', got {verify!r}.")
    if key is not None and not verify:
        raise UsageError("`key` has the files compared with their checksums, got `verify=False`.", hint="Omit one.")
    if not os.path.isfile(path):
        return open_in_bundle(path, variant, backend, placement, verify=verify, key=key)
    if variant is not None:
        raise UsageError(
            f"{path} is a single model file: it has no variants to choose from, got `variant={variant!r}`."
        )
    if key is not None:
        raise UsageError(
            f"{path} is a single model file: it has no signature to verify, got `key`.",
            hint="Name the directory of a signed bundle.",
        )
    return open_lone_file(path, backend, placement)


def open_in_bundle(
    path: Path,
    variant: str | None,
    backend: str | None,
    placement: SessionConfig,
    *,
    verify: Verify,
    key: str | os.PathLike[str] | None,
) -> OpenedModel:
    """Load a variant of the bundle at ``path``, while its files are compared with their checksums.

    Args:
        variant: its name, or "recommended"; by default float32 ONNX, or the first ONNX variant.
        backend: its name; by default that of :data:`ENGINES`. "auto" tries all that are installed.
        key: PEM file of the public key that must have signed the bundle. Then its files are compared at every start,
            and before they are loaded.

    Raises:
        BundleError: the bundle is damaged, lacks the variant, or has operators that are refused.
        KeyFileError: there is no such key in that file.
        MissingCapabilityError: the backend, the device or the extra ``sign`` is missing.
        SignatureError: the bundle is not signed, or not by that key, or its manifest has changed since.
    """
    bundle = open_bundle(path, key=key)
    entry, reason = choose_variant(bundle, variant)
    check = partial(_start_checksums, bundle, entry, verify)
    checksums = check() if verify else None
    placement = replace(placement, precision=entry.precision)
    choice = _choice(bundle, entry, backend, placement, checksums)
    load = partial(_load, choice.backend, bundle.path(entry.file), entry.format, placement)
    if checksums is None:
        return OpenedModel(bundle.manifest, entry.name, reason, choice, load, load())

    def load_checked() -> Backend:
        return CheckedBackend(load, check())

    checked = CheckedBackend(load, checksums)
    try:
        check_manifest_unchanged(bundle.manifest, checked.metadata, source=entry.file, as_error=BundleError)
    except BundleError:
        checksums.require_digests()  # if the model was changed, that is the better error
        raise
    return OpenedModel(bundle.manifest, entry.name, reason, choice, load_checked, checked)


def open_lone_file(path: Path, backend: str | None, placement: SessionConfig) -> OpenedModel:
    """Load the model at ``path``, which carries its manifest in its metadata.

    Raises:
        BundleError: it carries none, has operators that are refused, or the backend cannot read it.
        MissingCapabilityError: the backend or the device is missing.
    """
    format_ = _format_of(path)
    if backend == "auto":
        choice = BackendChoice(ENGINES[format_], "a lone file has no golden outputs to check another backend against")
    else:
        choice = _named_backend(backend, format_)
    # What it states is checked before an engine allocates memory for it.
    manifest = _manifest_of(path, inspect_model(path, format_, allow_any_operator=placement.allow_any_operator))
    load = partial(_load, choice.backend, path, format_, placement)
    loaded = open_backend(choice.backend, path, placement)
    return OpenedModel(manifest, path.stem, "the file that was named", choice, load, loaded)


def read_lone_manifest(path: Path) -> Manifest:
    """Return the manifest that the model at ``path`` carries in its metadata, read without an engine.

    Raises:
        BundleError: it carries none, or is unreadable.
    """
    return _manifest_of(path, inspect_model(path, _format_of(path), allow_any_operator=True))


def _manifest_of(lone: Path, metadata: Mapping[str, str]) -> Manifest:
    if METADATA_KEY not in metadata:
        raise BundleError(
            f"{lone} carries no {METADATA_KEY} in its metadata, so its preprocessing and labels are unknown.",
            hint="Name the directory of a bundle, or a file that vgg-export wrote.",
        )
    return Manifest.parse(metadata[METADATA_KEY], source=f"the metadata of {lone}")


def _format_of(lone: Path) -> str:
    return "torchscript" if lone.suffix == ".pt" else "onnx"


def _start_checksums(bundle: Bundle, variant: Variant, verify: Verify) -> PendingChecksums:
    """Start to compare the files of ``variant``; if its bundle had to be signed, wait for the result.

    Accidents may be noticed after the engine has loaded a file, and files that were verified before may be trusted. The
    file of an attacker must not reach the engine, for which it is a program, and may be made to look untouched.
    """
    remember = verify != "always" and bundle.key is None
    checksums = PendingChecksums(bundle.directory, variant.sha256, remember=remember)
    if bundle.key is not None:
        checksums.require_digests()
    return checksums


def _load(backend: str, model: Path, format_: str, config: SessionConfig) -> Backend:
    inspect_model(model, format_, allow_any_operator=config.allow_any_operator)
    return open_backend(backend, model, config)


def _choice(
    bundle: Bundle, variant: Variant, backend: str | None, placement: SessionConfig, checksums: PendingChecksums | None
) -> BackendChoice:
    if backend != "auto":
        return _named_backend(backend, variant.format)
    from vgg_runtime.autoselect import choose_backend

    if checksums is not None:
        checksums.require_digests()  # the trial of a changed file would be remembered
    inspect_model(bundle.path(variant.file), variant.format, allow_any_operator=placement.allow_any_operator)
    return choose_backend(bundle, variant, placement)


def _named_backend(name: str | None, format_: str) -> BackendChoice:
    default = ENGINES[format_]
    if name is None:
        return BackendChoice(default, "runs files of this format by default")
    if _RUNS.get(name, format_) != format_:
        raise UsageError(f"{name} does not run {format_} files.", hint=f"Omit `backend`; {default} runs this format.")
    return BackendChoice(name, "as asked")


def choose_variant(bundle: Bundle, name: str | None) -> tuple[Variant, str]:
    """Return the variant that ``name`` stands for, and why: a variant, "recommended", or None for the default.

    Raises:
        BundleError: the bundle lacks it, or has no ONNX variant, or its recommendation is unreadable.
    """
    if name is None:
        default = _default_variant(bundle.manifest)
        return default, _default_reason(bundle, default)
    if name != RECOMMENDED:
        return bundle.manifest.variant(name), "as asked"
    recommendation = read_recommendation(bundle)
    if recommendation is None:
        return _default_variant(bundle.manifest), "default, because no variant was timed when the bundle was exported"
    from vgg_runtime._internal.cpu import cpu_model_name  # not needed for the default variant

    reason = "recommended on the machine that exported"
    if recommendation.processor not in (None, cpu_model_name()):
        reason += f", which had another CPU: {recommendation.processor}"
    return bundle.manifest.variant(recommendation.variant), reason


def _default_reason(bundle: Bundle, default: Variant) -> str:
    try:
        recommendation = read_recommendation(bundle)
    except BundleError:  # nobody asked for the recommendation, so do without it
        recommendation = None
    if recommendation is None:
        return "default"
    if recommendation.variant == default.name:
        return "default, and recommended on the machine that exported"
    return f"default; recommended on the machine that exported: {recommendation.variant}"


def _default_variant(manifest: Manifest) -> Variant:
    onnx = [variant for variant in manifest.variants if variant.format == "onnx"]
    if not onnx:
        raise BundleError(
            f"the bundle has no ONNX variant: {', '.join(variant.name for variant in manifest.variants)}.",
            hint="Export with `formats=['onnx']`.",
        )
    return next((variant for variant in onnx if variant.precision == "fp32"), onnx[0])


class CheckedBackend:
    """Loads a backend while ``checksums`` are computed beside it.

    Raises:
        BundleError: the files were changed. If the engine can load them all the same, the first ``run`` raises.
    """

    def __init__(self, load: Callable[[], Backend], checksums: PendingChecksums) -> None:
        self._checksums = checksums
        try:
            self._backend = load()
        except Exception:
            checksums.require_digests()  # if a file was changed, that is the better error
            raise
        checksums.require_same_files()
        self.device, self.device_reason = self._backend.device, self._backend.device_reason
        self.metadata = self._backend.metadata

    def run(self, batch: InputArray) -> NDArray[np.float32]:
        """Return outputs (batch, classes) for a ``batch`` of the dtype and layout that the manifest says.

        Raises:
            BundleError: the files were changed.
        """
        try:
            return self._backend.run(batch)
        finally:
            self._checksums.require_digests()
