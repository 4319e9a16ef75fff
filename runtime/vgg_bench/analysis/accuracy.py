"""How variants answer: agreement with eager PyTorch from the manifest, accuracy from labelled samples."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vgg_bench.analysis._scipy import import_scipy_stats
from vgg_bench.images import choose_samples, classes_from_folders
from vgg_bench.results import Estimate, Quality
from vgg_runtime.bundle.manifest import Manifest
from vgg_runtime.errors import UsageError
from vgg_runtime.imaging.decode import read_image
from vgg_runtime.imaging.folders import relative_name

__all__ = ["LabelledImages", "accuracy_with_interval", "quality_from_manifest", "read_labelled"]


@dataclass(frozen=True)
class LabelledImages:
    """Files of images, and the class of each."""

    files: tuple[Path, ...]
    classes: tuple[int, ...]

    def save(self, file: Path, manifest: Manifest) -> None:
        """Write the images as the variants of ``manifest`` take them into a ``.npy`` file, one after another."""
        input_spec = manifest.input
        images = np.lib.format.open_memmap(
            file, "w+", np.dtype(input_spec.dtype), (len(self.files), *input_spec.image_shape)
        )
        for i, image in enumerate(self.files):
            images[i] = manifest.prepare(read_image(image), name=str(image))


def read_labelled(folder: Path, manifest: Manifest, *, size: int | None = None, seed: int = 0) -> LabelledImages:
    """Choose images from class folders: all, or ``size`` of them, the same ones for the same seed.

    Raises:
        ImageError: there is none, or one is unreadable or of another size than the network takes.
        UsageError: there is no folder, it has fewer images, or those in it are not named after the bundle's labels.
    """
    if not folder.is_dir():
        raise UsageError(f"there is no folder {folder}.", hint="Give a folder of class folders to `samples`.")
    files = choose_samples(folder, size, seed=seed)
    classes = classes_from_folders([relative_name(file, folder) for file in files], manifest.labels)
    if classes is None:
        labels = "none" if manifest.labels is None else ", ".join(manifest.labels[:5])
        raise UsageError(
            f"the folders in {folder} are not named after the bundle's labels ({labels}).",
            hint="Accuracy needs one folder of images per class; export with `labels` if the bundle has none.",
        )
    for file in files:  # refuse unusable images before anything is measured
        manifest.prepare(read_image(file), name=str(file))
    return LabelledImages(tuple(files), tuple(classes))


def quality_from_manifest(variant: str, manifest: Manifest) -> Quality:
    """Return the figures that the manifest has for a variant; none for a name that it does not know."""
    if variant == "eager":
        return Quality(top1_agreement=1.0)  # the others are compared with it
    parity = next((entry.parity for entry in manifest.variants if entry.name == variant), None)
    return Quality() if parity is None else Quality(parity.top1_agreement, parity.snr_db)


def accuracy_with_interval(answers: Sequence[int], classes: Sequence[int]) -> Estimate:
    """Return the share of right answers with its 95 % interval by Wilson (JASA 22 (1927), 209-212)."""
    right = sum(a == b for a, b in zip(answers, classes, strict=True))
    interval = import_scipy_stats().binomtest(right, len(classes)).proportion_ci(method="wilson")
    share = right / len(classes)
    # At a share of 0 or 1 one end equals the share, and rounding may move it past that.
    return Estimate(share, min(float(interval.low), share), max(float(interval.high), share))
