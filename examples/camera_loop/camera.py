"""Classify what a camera sees now; a folder of frames stands for the camera.

    python camera.py BUNDLE FRAMES [--rate FRAMES_PER_SECOND] [--smoothing 0.5]

Two habits of every camera loop: of the frames that came while the last one was classified only the newest counts, so
that the answer never lags behind; and probabilities are averaged over frames, so that the label does not flicker.
With a real camera, OpenCV's frames go to the same call: ``classifier.predict(frame, channels="BGR")``.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from queue import Empty, Queue
from threading import Thread

from vgg_runtime import Classifier
from vgg_runtime.errors import ImageError
from vgg_runtime.imaging.folders import find_images


def film(frames: Iterable[Path], rate: float, newest: Queue[Path | None]) -> None:
    """Put one frame after the other into ``newest``, which holds one: a frame that nobody took is replaced."""
    for frame in frames:
        with suppress(Empty):
            newest.get_nowait()
        newest.put(frame)
        time.sleep(1 / rate)
    newest.put(None)  # waits until the last frame was taken


def seen(frames: Iterable[Path], rate: float) -> Iterator[Path]:
    """Yield the newest frame whenever the caller is ready for one; the camera runs in a thread of its own."""
    newest: Queue[Path | None] = Queue(maxsize=1)
    Thread(target=film, args=(frames, rate, newest), daemon=True).start()
    while (frame := newest.get()) is not None:
        yield frame


def main() -> None:
    parser = argparse.ArgumentParser(description="Classify what a camera sees now.")
    parser.add_argument("bundle")
    parser.add_argument("frames", type=Path, help="folder of images, in the order of their names")
    parser.add_argument("--rate", type=float, default=30, help="frames per second of the camera")
    parser.add_argument("--smoothing", type=float, default=0.5, help="weight of the past, from 0 to less than 1")
    options = parser.parse_args()
    if options.rate <= 0:
        parser.error("--rate is greater than 0.")
    frames, answered = find_images([options.frames]), 0
    with Classifier.open(options.bundle) as classifier:
        shares: dict[str, float] = {}
        start = time.perf_counter()
        for frame in seen(frames, options.rate):
            try:
                found = classifier.predict(frame, top_k=len(classifier.labels))
            except ImageError as error:  # a frame that was cut off; the next one comes
                print(json.dumps({"frame": frame.name, "error": error.message}), flush=True)
                continue
            now = {each.label: each.probability for each in found}
            past = shares or now
            shares = {label: past[label] + (1 - options.smoothing) * (now[label] - past[label]) for label in now}
            label = max(shares, key=shares.__getitem__)
            print(json.dumps({"frame": frame.name, "label": label, "share": round(shares[label], 4)}), flush=True)
            answered += 1
        rate = answered / (time.perf_counter() - start)
    print(f"{answered} of {len(frames)} frames, {rate:.1f} per second", file=sys.stderr)


if __name__ == "__main__":
    main()
