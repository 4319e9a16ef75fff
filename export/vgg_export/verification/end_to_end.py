"""End-to-end parity: the same image file through torchvision and eager PyTorch and through the runtime."""

from __future__ import annotations

import io
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from vgg_export.planning.plan import Plan
from vgg_export.progress import OnStep, ignore_steps
from vgg_export.verification.reference import Reference
from vgg_export.verification.samples import Samples
from vgg_runtime.bundle.manifest import Manifest, Tolerance
from vgg_runtime.classifier import Classifier
from vgg_runtime.errors import ParityError
from vgg_runtime.imaging.preprocessing import Preprocessing
from vgg_runtime.metrics import compare

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["EndToEndCheck", "torchvision_preprocess"]


@dataclass(frozen=True)
class EndToEndCheck:
    """The outputs of torchvision's transforms and eager PyTorch for the sample files.

    Attributes:
        samples: the images as files.
        outputs: float32 (images, classes).
    """

    samples: Samples
    outputs: NDArray[np.float32]

    @classmethod
    def of(cls, plan: Plan, reference: Reference) -> EndToEndCheck:
        """Run the sample files through torchvision's transforms; for equal pixels the outputs are already known.

        Raises:
            ParityError: a pixel differs in any bit from this project's preprocessing.
        """
        samples = reference.samples
        for i, name in enumerate(samples.names):
            (ours,), theirs = samples.planes([i]), torchvision_preprocess(plan.preprocessing, samples.encoded(i))
            if not np.array_equal(ours, theirs):
                raise ParityError(
                    f"{name} is preprocessed differently by torchvision: up to {np.abs(ours - theirs).max():.3g}.",
                    hint="Report it with the image and the versions of Pillow and torchvision.",
                )
        return cls(samples, reference.per_sample)

    def check(self, bundle: Path, manifest: Manifest, on_step: OnStep = ignore_steps) -> dict[str, str]:
        """Classify the sample files with every ONNX variant of ``bundle`` and compare the labels.

        Returns:
            a message for each variant whose best labels agree on fewer files than its tolerance requires.
        """
        misses = {}
        for variant in manifest.variants:
            if variant.format == "onnx" and variant.tolerance is not None:
                with Classifier.open(bundle, variant=variant.name, device="cpu") as classifier:
                    if reason := self._shortfall(classifier, variant.tolerance, on_step):
                        misses[variant.name] = reason
        return misses

    def _shortfall(self, classifier: Classifier, tolerance: Tolerance, on_step: OnStep) -> str | None:
        predicted = []
        for i in range(count := len(self.samples.names)):
            predicted.append(classifier.predict(self.samples.encoded(i), top_k=1)[0].index)
            on_step(f"verifying image bytes to labels of {classifier.variant}", i + 1, count)
        # The predicted class as a one-hot output, so that ties in the reference count as agreement.
        one_hot = np.eye(self.outputs.shape[1], dtype=np.float32)[predicted]
        agreement = compare(self.outputs, one_hot, self.samples.names, tie=tolerance.tie).top1_agreement_with_ties
        if agreement >= tolerance.min_top1_agreement:
            return None
        return (
            f"{classifier.variant}: from image bytes, the best label agrees with torchvision and eager PyTorch on "
            f"{agreement:.1%} of {len(predicted)} images, at least {tolerance.min_top1_agreement:.1%} are needed."
        )


def torchvision_preprocess(preprocessing: Preprocessing, file: bytes) -> NDArray[np.float32]:
    """Return the image in ``file`` as torchvision's PIL pipeline makes it: float32 (channels, height, width)."""
    from PIL import Image, ImageOps

    from vgg_models._torchvision import import_torchvision

    transforms = import_torchvision().transforms
    functional, mode = transforms.functional, transforms.InterpolationMode[preprocessing.interpolation.upper()]
    image: Image.Image = Image.open(io.BytesIO(file))
    if preprocessing.exif_orientation:
        image = ImageOps.exif_transpose(image)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Palette images with Transparency", UserWarning)  # it is dropped anyway
        image = image.convert("L" if preprocessing.channels == "L" else "RGB")
    if preprocessing.resize is not None:
        size = preprocessing.resize
        image = functional.resize(image, size if isinstance(size, int) else list(size), interpolation=mode)
    if preprocessing.crop is not None:
        image = functional.center_crop(image, list(preprocessing.crop))
    if preprocessing.divide_by == 255:
        tensor = functional.to_tensor(image)
    else:
        tensor = functional.pil_to_tensor(image).float() / preprocessing.divide_by
    if preprocessing.channels == "BGR":
        tensor = tensor.flip(0)
    zeros, ones = (0.0,) * preprocessing.channel_count, (1.0,) * preprocessing.channel_count
    tensor = functional.normalize(tensor, preprocessing.mean or zeros, preprocessing.std or ones)
    if preprocessing.permutation is not None:
        tensor = tensor.flatten(1)[:, list(preprocessing.permutation)].view_as(tensor)
    result: NDArray[np.float32] = tensor.numpy()
    return result
