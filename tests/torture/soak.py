"""Many predictions in one process, and many classifiers opened and closed: nothing grows."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random

import numpy as np
import onnxruntime  # noqa: F401 - loaded before the fork
from fork_server import Answer, ForkServer
from PIL import Image

from vgg_runtime import Classifier

__all__ = ["open_and_close", "predict_and_leak", "predict_for_long", "soak"]

CPU_SECONDS = 36_000

_MEBIBYTES = {"predict_for_long": 8, "predict_and_leak": 8, "open_and_close": 32}
_WARM_UP = 500  # calls at most, after which the allocators have what they need
_MODES = ("L", "RGB", "RGBA", "P", "CMYK", "1")


def predict_for_long(request: Path) -> str:
    """Return what the calls left: mebibytes, file descriptors and threads."""
    bundle, count = json.loads(request.read_text())
    with Classifier.open(bundle, device="cpu", variant="onnx-fp32") as classifier:
        return _growth(lambda number: _predict(classifier, number), count)


def predict_and_leak(request: Path) -> str:
    """The same with a fault: 256 KiB of each call stay."""
    bundle, count = json.loads(request.read_text())
    leak: list[bytes] = []
    with Classifier.open(bundle, device="cpu", variant="onnx-fp32") as classifier:

        def call(number: int) -> None:
            _predict(classifier, number)
            leak.append(bytes([number % 256]) * 262_144)

        return _growth(call, count)


def open_and_close(request: Path) -> str:
    """The same of classifiers that are opened, used once and closed."""
    bundle, count = json.loads(request.read_text())

    def call(number: int) -> None:
        with Classifier.open(bundle, device="cpu", variant="onnx-fp32") as classifier:
            _predict(classifier, number)

    return _growth(call, count)


def _predict(classifier: Classifier, number: int) -> None:
    """One image, or some, of a size, mode and kind of source that change with the number."""
    random = Random(number)  # noqa: S311 - repeatable
    width, height = random.randint(1, 96), random.randint(1, 96)
    image = Image.frombytes("L", (width, height), random.randbytes(width * height))
    if number % 4 == 0:
        classifier.predict_batch([image, np.asarray(image), image.rotate(90)], top_k=random.randint(1, 10))
    else:
        classifier.predict(image.convert("RGB").convert(random.choice(_MODES)), top_k=1)


def _growth(call: Callable[[int], None], count: int) -> str:
    for number in range(min(count, _WARM_UP)):
        call(number)
    before = _state()
    for number in range(count):
        call(number)
    return json.dumps([after - start for after, start in zip(_state(), before, strict=True)])


def _state() -> tuple[float, int, int]:
    time.sleep(0.1)  # a thread that was joined stays in /proc for a moment
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages / 256, len(list(Path("/proc/self/fd").iterdir())), len(list(Path("/proc/self/task").iterdir()))


def soak(server: ForkServer, folder: Path, bundle: Path, function: str, calls: int) -> Iterator[tuple[str, Answer]]:
    """Make that many calls in one process; "grown" is one that has more memory, descriptors or threads afterwards."""
    request = folder / "request.json"
    request.write_text(json.dumps([str(bundle), calls]))
    answer = server.call(function, request)
    if answer.outcome == "read":
        mebibytes, *others = json.loads(answer.detail)
        if mebibytes > _MEBIBYTES[function] or any(others):
            answer = Answer("grown", answer.detail)
    yield f"{function} {calls:,} times", answer
