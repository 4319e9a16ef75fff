"""The process of one backend in the trial: compares it with the golden outputs, then times calls on request.

    python -m vgg_runtime._autoselect_worker BUNDLE VARIANT BACKEND DEVICE THREADS PROFILE

Speaks the protocol of :mod:`vgg_bench.measurement.worker`; a backend that does not give the golden outputs ends with
the reason as the last line on stderr.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import cast

from vgg_runtime.autoselect import REFUSED
from vgg_runtime.backends.base import Device, ProfileName
from vgg_runtime.bundle.directory import open_bundle
from vgg_runtime.classifier import DEFAULT_BATCH_SIZE, Classifier
from vgg_runtime.errors import SelfTestError, VggDeployError
from vgg_runtime.timing.serve import image_like_batch, serve
from vgg_runtime.verification import golden_mismatches

__all__: list[str] = []


def main(directory: str, variant: str, backend: str, device: str, threads: str, profile: str) -> None:  # noqa: PLR0917 - from sys.argv
    """Time ``Classifier.logits`` on one image; on a batch where that is what the profile is for."""
    bundle = open_bundle(directory)
    with Classifier.open(
        directory,
        variant=variant,
        backend=backend,
        device=cast("Device", device),
        threads=int(threads),
        profile=cast("ProfileName", profile),
        verify=False,  # whoever started this process has done so
    ) as classifier:
        if misses := golden_mismatches(bundle, classifier):
            raise SelfTestError(f"its outputs differ from the golden ones: {', '.join(misses)}")
        input_spec = bundle.manifest.input
        size = input_spec.batch_size or (DEFAULT_BATCH_SIZE if profile == "throughput" else 1)
        batch = image_like_batch((size, *input_spec.image_shape), input_spec.dtype)
        serve(lambda: classifier.logits(batch))


def run(arguments: Sequence[str]) -> None:
    """Run ``main``, and say what there is against the backend as whoever started this process expects it."""
    try:
        main(*arguments)
    except Exception as error:  # whatever the engine raises
        sys.stderr.write(error.message if isinstance(error, VggDeployError) else str(error) or type(error).__name__)
        sys.exit(REFUSED)


if __name__ == "__main__":
    run(sys.argv[1:])
