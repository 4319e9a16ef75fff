"""End-to-end parity: the same image file through torchvision and eager PyTorch, and through the runtime."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from vgg_export.plan import Plan
from vgg_export.progress import OnStep, ignore_steps
from vgg_export.reference import Reference
from vgg_export.samples import Samples
from vgg_export.torchvision_transforms import torchvision_preprocess
from vgg_runtime.classifier import Classifier
from vgg_runtime.errors import ParityError
from vgg_runtime.manifest import Manifest, Tolerance
from vgg_runtime.parity import compare

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["EndToEnd"]


@dataclass(frozen=True)
class EndToEnd:
    """What torchvision's transforms and eager PyTorch make of the sample files.

    Attributes:
        samples: the images as files.
        outputs: float32 (images, classes).
    """

    samples: Samples
    outputs: NDArray[np.float32]

    @classmethod
    def of(cls, plan: Plan, reference: Reference) -> EndToEnd:
        """Run the sample files through torchvision's transforms; of equal pixels eager PyTorch's outputs are known.

        Raises:
            ParityError: the pixels differ in any bit from those of this project's own preprocessing.
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
            by variant, in words, where the best labels agree on fewer files than its tolerance asks for.
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
        # The runtime's choice as a one-hot output: comparing it counts ties in the reference as agreement.
        one_hot = np.eye(self.outputs.shape[1], dtype=np.float32)[predicted]
        agreement = compare(self.outputs, one_hot, self.samples.names, tie=tolerance.tie).top1_agreement_with_ties
        if agreement >= tolerance.min_top1_agreement:
            return None
        return (
            f"{classifier.variant}: from image bytes, the best label agrees with torchvision and eager PyTorch on "
            f"{agreement:.1%} of {len(predicted)} images, at least {tolerance.min_top1_agreement:.1%} are needed."
        )
