"""The golden self-test: does this machine reproduce the outputs of eager PyTorch on the build machine?"""

from __future__ import annotations

import os
from collections.abc import Mapping

import numpy as np

from vgg_runtime._internal.shortening import listed
from vgg_runtime.backends.base import Device
from vgg_runtime.bundle.checksums import require_unchanged
from vgg_runtime.bundle.directory import Bundle, open_bundle
from vgg_runtime.bundle.embedded_manifest import METADATA_KEY, check_manifest_unchanged, torchscript_metadata
from vgg_runtime.bundle.golden import read_golden
from vgg_runtime.bundle.manifest import ParityFigures, Variant
from vgg_runtime.bundle.verified_files import forget_verified
from vgg_runtime.classifier import Classifier
from vgg_runtime.errors import BundleError, ChecksumError, SelfTestError
from vgg_runtime.metrics import compare

__all__ = ["golden_mismatches", "verify_bundle"]

_Golden = tuple[np.ndarray, np.ndarray]  # inputs of the network, outputs of eager PyTorch


def verify_bundle(
    path: str | os.PathLike[str],
    *,
    device: Device = "auto",
    backend: str | None = None,
    key: str | os.PathLike[str] | None = None,
    allow_any_operator: bool = False,
) -> dict[str, ParityFigures]:
    """Compare every file with its checksum, then the outputs of every ONNX variant with the golden outputs.

    The manifest has its own checksum, and is compared with its copy inside each model file, which has everything but
    what was measured afterwards: the figures and tolerances of the variants. Both find accidents; the signature that
    ``key`` asks for finds attacks too.

    Args:
        path: directory of the bundle.
        device: "cpu", "cuda", "cuda:N" or "auto", as :class:`Classifier` takes it.
        backend: engine that runs the variants; by default that of their format.
        key: PEM file of the public key that must have signed the bundle; None accepts any.
        allow_any_operator: run the variants whatever their operators, as :class:`Classifier` takes it.

    Returns:
        the figures of each variant that was run; empty if the bundle was exported without verification, or has
        no ONNX variant.

    Raises:
        BundleError: the bundle is incomplete or unreadable, or a model file has operators that are refused, or carries
            no copy of the manifest.
        ChecksumError: a file, possibly the manifest, has changed.
        KeyFileError: there is no such key in that file.
        SelfTestError: a variant misses its tolerance on this machine.
        SignatureError: the bundle is not signed, or not by that key, or its manifest has changed since.

    Examples:
        >>> from vgg_runtime import verify_bundle
        >>> figures = verify_bundle("slim_vgg.bundle", device="cpu")
        >>> figures["onnx-fp32"].top1_agreement
        1.0
    """
    bundle = open_bundle(path, key=key)
    if changed := bundle.changed_files():
        for variant in bundle.manifest.variants:
            if not variant.sha256.keys().isdisjoint(changed):
                forget_verified(bundle.directory, variant.sha256)  # or the next classifier would trust the cache
        require_unchanged(changed, as_error=ChecksumError)
    golden = None if bundle.manifest.golden is None else read_golden(bundle)
    figures = {}
    for variant in bundle.manifest.variants:
        if variant.format == "onnx":
            with Classifier.open(
                bundle.directory,
                variant=variant.name,
                device=device,
                backend=backend,
                verify=key is not None,  # without one, it is enough that they were compared above
                key=key,
                allow_any_operator=allow_any_operator,
            ) as classifier:
                _check_copy(bundle, variant, classifier.metadata)
                if golden is not None:
                    figures[variant.name] = _compare(bundle, classifier, golden)
        else:
            _check_copy(bundle, variant, torchscript_metadata(bundle.path(variant.file)))
    _refuse_misses(bundle, figures)
    return figures


def golden_mismatches(bundle: Bundle, classifier: Classifier) -> list[str]:
    """Return in words which tolerances the outputs of ``classifier``, a variant of ``bundle``, miss.

    Raises:
        BundleError: the bundle has no golden outputs, or unreadable ones.
    """
    tolerance = bundle.manifest.variant(classifier.variant).tolerance
    figures = _compare(bundle, classifier, read_golden(bundle))
    return figures.misses(tolerance) if tolerance else []


def _check_copy(bundle: Bundle, variant: Variant, metadata: Mapping[str, str]) -> None:
    if METADATA_KEY not in metadata:
        raise BundleError(
            f"{bundle.path(variant.file)} carries no copy of the manifest, so it cannot be verified.",
            hint="Export the checkpoint again with vgg-export.",
        )
    check_manifest_unchanged(bundle.manifest, metadata, source=variant.file, as_error=ChecksumError)


def _compare(bundle: Bundle, classifier: Classifier, golden: _Golden) -> ParityFigures:
    inputs, outputs = golden
    size = bundle.manifest.input.batch_size or 1
    batches = [inputs[start : start + size] for start in range(0, len(inputs) - size + 1, size)]
    actual = np.concatenate([classifier.logits(batch) for batch in batches])
    tolerance = bundle.manifest.variant(classifier.variant).tolerance
    names, tie = [f"golden {i}" for i in range(len(actual))], tolerance.tie if tolerance else 0.0
    return compare(outputs[: len(actual)], actual, names, batch_sizes=[size], tie=tie)


def _refuse_misses(bundle: Bundle, figures: dict[str, ParityFigures]) -> None:
    misses = {
        name: parity.misses(tolerance)
        for name, parity in figures.items()
        if (tolerance := bundle.manifest.variant(name).tolerance)
    }
    right = [name for name in figures if not misses.get(name)]
    if messages := [f"{name}: {miss}" for name in misses for miss in misses[name]]:
        raise SelfTestError(
            f"outputs on this machine differ from those of the build machine: {'; '.join(messages)}.",
            hint=(f"Run another variant: {listed(right)} passed. " if right else "")
            + "The cause may be this onnxruntime, this CPU, or its emulator: compare vgg-run info with pip list.",
        )
