"""Does memory stay bounded? Resident set after 1,000 and after 20,000 predictions of all sorts.

python tests/benchmark/bounded_memory.py BUNDLE
"""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path

import click
import numpy as np
from figure import Figure
from PIL import Image

from vgg_runtime import Classifier
from vgg_runtime.errors import ImageError

EARLY, LATE = 1_000, 20_000


def resident_mib() -> float:
    """Resident set of this process; Linux only."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def predict_all_sorts(bundle: Path) -> tuple[float, float]:
    """Return the resident set in MiB after ``EARLY`` and after ``LATE`` predictions.

    They are of arrays, files of several formats and sizes, batches of 1 to 16 and broken images, in mixed order.
    """
    random = np.random.default_rng(0)
    resident: list[float] = []
    with Classifier.open(bundle) as classifier:
        done = 0
        while done < LATE:
            height, width = random.integers(20, 400, 2)
            pixels = random.integers(0, 256, (height, width, 3), dtype=np.uint8)
            sources = [pixels, encoded(pixels, str(random.choice(["JPEG", "PNG"])))]
            batch = [sources[i] for i in random.integers(0, 2, random.integers(1, 17))]
            done += len(classifier.predict_batch(batch, batch_size=int(random.integers(1, 17))))
            try:
                classifier.predict(sources[1][:100])  # type: ignore[arg-type]
            except ImageError:
                done += 1
            if done >= (EARLY, LATE)[len(resident)]:
                resident.append(resident_mib())
    return resident[0], resident[1]


def encoded(pixels: np.ndarray, kind: str) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind)
    return file.getvalue()


def bounded_memory_figure(bundle: Path) -> Figure:
    command = [sys.executable, __file__, str(bundle)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    early, late = map(float, done.stdout.split())
    return Figure(
        f"MiB of resident memory that predictions {EARLY:,} to {LATE:,} added",
        late - early,
        "at most 8",
        *[late - early] * 2,
    )


@click.command()
@click.argument("bundle", type=click.Path(path_type=Path))
def main(bundle: Path) -> None:
    click.echo(" ".join(f"{value:.1f}" for value in predict_all_sorts(bundle)))


if __name__ == "__main__":
    main()
