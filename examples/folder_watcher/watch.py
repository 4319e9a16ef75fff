"""Classify every image that appears in a folder, one line of JSON for each.

    python watch.py BUNDLE FOLDER            until it is interrupted
    python watch.py BUNDLE FOLDER --once     what is there now

An image that is still being written is left alone until its size and time have stood still between two looks.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from vgg_runtime import Classifier
from vgg_runtime.errors import ImageError
from vgg_runtime.imaging.folders import IMAGE_SUFFIXES

State = tuple[int, int]  # size in bytes, time of the last change in nanoseconds


def look(folder: Path) -> dict[Path, State]:
    found: dict[Path, State] = {}
    for file in sorted(folder.iterdir()):
        with suppress(OSError):  # moved away between the two calls, or out of reach
            if file.suffix.lower() in IMAGE_SUFFIXES and not file.name.startswith(".") and file.is_file():
                found[file] = (file.stat().st_size, file.stat().st_mtime_ns)
    return found


def new_images(folder: Path, every: float) -> Iterator[Path]:
    """Yield each image once, and again when its content was replaced."""
    before: dict[Path, State] = {}
    answered: dict[Path, State] = {}
    while True:
        now = look(folder)
        answered = {file: state for file, state in answered.items() if file in now}  # no growth over the months
        for file, state in now.items():
            if state == before.get(file) and state != answered.get(file):
                answered[file] = state
                yield file
        before = now
        time.sleep(every)


def answer(classifier: Classifier, file: Path) -> dict[str, object]:
    try:
        best = classifier.predict(file, top_k=1)[0]
    except ImageError as error:  # one bad file does not stop the watch
        return {"image": file.name, "error": error.message}
    return {"image": file.name, "label": best.label, "probability": round(best.probability, 4)}


def main() -> None:
    parser = argparse.ArgumentParser(description="Classify every image that appears in a folder.")
    parser.add_argument("bundle")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--once", action="store_true", help="answer what is there now, and end")
    parser.add_argument("--every", type=float, default=0.5, metavar="SECONDS", help="time between two looks")
    options = parser.parse_args()
    with Classifier.open(options.bundle) as classifier, suppress(KeyboardInterrupt):
        for file in look(options.folder) if options.once else new_images(options.folder, options.every):
            print(json.dumps(answer(classifier, file)), flush=True)


if __name__ == "__main__":
    main()
