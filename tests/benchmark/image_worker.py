"""The measured processes of image_latency.py: python image_worker.py SUBJECT BUNDLE VARIANT THREADS FOLDER."""

from __future__ import annotations

import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from itertools import cycle, islice
from pathlib import Path

from PIL import Image

from vgg_bench.timing.serve import image_like_batch, serve
from vgg_runtime import Classifier
from vgg_runtime.classifier import DEFAULT_BATCH_SIZE

# Photographs of one call: enough for the pipeline's beginning and end to count for little.
PHOTOS = 4 * DEFAULT_BATCH_SIZE

Call = Callable[[], object]


def image_bytes(classifier: Classifier, folder: Path) -> Call:
    """From the bytes of one JPEG to its labels."""
    content = next(folder.iterdir()).read_bytes()
    return lambda: classifier.predict(content)


def pillow_and_model(classifier: Classifier, folder: Path) -> Call:
    """The least it takes: Pillow decodes and resizes the same, and the model runs on what was ready before."""
    content, preprocessing = next(folder.iterdir()).read_bytes(), classifier.manifest.preprocessing
    batch = image_like_batch((1, *classifier.manifest.input.image_shape))

    def call() -> None:
        preprocessing.pixels(Image.open(BytesIO(content)))
        classifier.logits(batch)

    return call


def files(classifier: Classifier, folder: Path) -> Call:
    """From the next photographs of the folder to their labels."""
    photos = cycle(sorted(folder.iterdir()))
    return lambda: list(classifier.predict_files(islice(photos, PHOTOS)))


def decoding(classifier: Classifier, folder: Path) -> Call:
    """Pillow alone, on as many threads: decode the next photographs and resize their shorter side."""
    photos, side = cycle(sorted(folder.iterdir())), classifier.manifest.preprocessing.resize
    assert isinstance(side, int)
    classifier.close()

    def decode(photo: Path) -> None:
        with Image.open(photo) as image:
            scale = side / min(image.size)
            image.convert("RGB").resize(
                (int(scale * image.width), int(scale * image.height)), Image.Resampling.BILINEAR
            )

    def call() -> None:
        with ThreadPoolExecutor(classifier.threads) as pool:
            list(pool.map(decode, islice(photos, PHOTOS)))

    return call


def batches(classifier: Classifier, folder: Path) -> Call:
    """The model alone on as many images, batch by batch."""
    batch = image_like_batch((DEFAULT_BATCH_SIZE, *classifier.manifest.input.image_shape))
    return lambda: [classifier.logits(batch) for _ in range(PHOTOS // DEFAULT_BATCH_SIZE)]


SUBJECTS = {function.__name__: function for function in (image_bytes, pillow_and_model, files, decoding, batches)}

if __name__ == "__main__":
    subject, bundle, variant, threads, folder = sys.argv[1:]
    opened = Classifier.open(bundle, variant=variant, threads=int(threads), device="cpu", verify=False)
    serve(SUBJECTS[subject](opened, Path(folder)))
