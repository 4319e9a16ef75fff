"""Scoring many images beside a plain loop over ``predict_files`` with the same threads.

python tests/benchmark/scoring.py BUNDLE [--photos FOLDER] [--few 1000] [--many 10000] [--rounds 5]

Every run is a process of its own, in turns. The images are the photographs, as often as it takes; they are read through
a list, and are in the page cache for all runs. A rate is that of a whole run: loading the model and starting workers
count. The loop is run as it is by default, and with the profile for batches. The time of a run's last tenth beside that
of the second (the model is loaded in the first) shows whether an image costs the same however many there are.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from itertools import cycle, islice
from pathlib import Path
from threading import Event, Thread

import click
import psutil
from figure import Figure

from vgg_runtime import Classifier
from vgg_runtime.backends.base import ProfileName
from vgg_runtime.imaging.folders import find_images
from vgg_score import score

PHOTOS = Path(__file__).parents[2] / "examples" / "fashion_mnist" / "images"
BATCH_SIZE = 8


class PeakMemory:
    """The largest sum, in MiB, of this process and its children: what is shared among them counts once in each."""

    def __enter__(self) -> PeakMemory:
        self.mib = 0.0
        self._ended = Event()
        self._thread = Thread(target=self._watch)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _watch(self) -> None:
        own = psutil.Process()
        while not self._ended.wait(0.2):
            self.mib = max(self.mib, sum(map(proportional_mib, [own, *own.children()])))


def proportional_mib(process: psutil.Process) -> float:
    """Memory of a process, of which a page shared by n processes counts as 1/n; Linux only."""
    try:
        return float(process.memory_full_info().pss / 2**20)
    except psutil.Error:  # it has ended
        return 0.0


class Tenths:
    """When each tenth of a run was done."""

    def __init__(self, images: int) -> None:
        self._images = images
        self._ends: list[float] = []

    def count(self, done: int) -> None:
        """Note the time, if ``done`` images end the next tenth."""
        while 10 * done >= (len(self._ends) + 1) * self._images:
            self._ends.append(time.perf_counter())

    @property
    def growth(self) -> float:
        """Time of the last tenth in units of that of the second."""
        return (self._ends[9] - self._ends[8]) / (self._ends[1] - self._ends[0])


def run_loop(bundle: Path, images: Path, threads: int, count: Callable[[int], object], profile: ProfileName) -> None:
    files = images.read_text().splitlines()
    with Classifier(bundle, device="cpu", threads=threads, profile=profile) as classifier:
        for done, _ in enumerate(classifier.predict_files(files, batch_size=BATCH_SIZE), 1):
            count(done)


def run_score(bundle: Path, images: Path, threads: int, count: Callable[[int], object], workers: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        score(
            bundle,
            images,
            Path(folder, "out"),
            threads=threads,
            workers=workers,
            batch_size=BATCH_SIZE,
            device="cpu",
            on_progress=lambda progress: count(progress.images),
        )


SUBJECTS: dict[str, Callable[[Path, Path, int, Callable[[int], object]], None]] = {
    "loop": lambda *arguments: run_loop(*arguments, profile="latency"),
    "loop for batches": lambda *arguments: run_loop(*arguments, profile="throughput"),
    "1 worker": lambda *arguments: run_score(*arguments, workers=1),
    "2 workers": lambda *arguments: run_score(*arguments, workers=2),
}


def measure(subject: str, bundle: Path, images: Path, threads: int) -> dict[str, float]:
    """Rate in images a second, growth of their cost, and peak memory in MiB, of one run in a process of its own."""
    command = [
        sys.executable,
        __file__,
        str(bundle),
        "--run",
        subject,
        "--list",
        str(images),
        "--threads",
        str(threads),
    ]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    result: dict[str, float] = json.loads(done.stdout)
    return result


def print_run(subject: str, bundle: Path, images: Path, threads: int) -> None:
    count = len(images.read_text().splitlines())
    tenths = Tenths(count)
    with PeakMemory() as peak:
        begun = time.perf_counter()
        SUBJECTS[subject](bundle, images, threads, tenths.count)
        seconds = time.perf_counter() - begun
    click.echo(json.dumps({"rate": count / seconds, "growth": tenths.growth, "mib": peak.mib}))


def write_lists(folder: Path, photos: Path, counts: Iterable[int]) -> dict[int, Path]:
    """Lists of so many photographs each, from the same few."""
    lists = {count: folder / f"{count}.txt" for count in counts}
    for count, file in lists.items():
        file.write_text("".join(f"{image}\n" for image in islice(cycle(find_images(photos)), count)))
    return lists


@click.command()
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option("--photos", type=click.Path(path_type=Path), default=PHOTOS, help="Real images.")
@click.option("--few", type=int, default=1_000, show_default=True)
@click.option("--many", type=int, default=10_000, show_default=True)
@click.option("--rounds", type=int, default=5, show_default=True)
@click.option("--threads", type=int, default=len(os.sched_getaffinity(0)), show_default=True)
@click.option("--run", "subject", type=click.Choice(list(SUBJECTS)), help="Run this once, on the images of --list.")
@click.option("--list", "images", type=click.Path(path_type=Path))
def main(
    bundle: Path, photos: Path, few: int, many: int, rounds: int, threads: int, subject: str | None, images: Path | None
) -> None:
    if subject is not None and images is not None:
        print_run(subject, bundle, images, threads)
        return
    with tempfile.TemporaryDirectory() as folder:
        lists = write_lists(Path(folder), photos, (few, many))
        runs: dict[tuple[str, int], list[dict[str, float]]] = {
            (name, count): [] for count in lists for name in SUBJECTS
        }
        for _ in range(rounds):
            for (name, count), results in runs.items():
                results.append(measure(name, bundle, lists[count], threads))
    for line in figures(runs, few, many):
        click.echo(line.line())


def figures(runs: dict[tuple[str, int], list[dict[str, float]]], few: int, many: int) -> list[Figure]:
    """The figures of all rounds: rates as ratios within a round."""

    def ratios(value: str, above: tuple[str, int], below: tuple[str, int]) -> list[float]:
        pairs = zip(runs[above], runs[below], strict=True)
        return [ours[value] / theirs[value] for ours, theirs in pairs]

    lines = []
    for name in SUBJECTS:
        for count in (few, many):
            absolute = [run["rate"] for run in runs[name, count]]
            lines.append(Figure.of_rounds(f"{name}: images a second, {count:,} images", absolute, ""))
        growths = [run["growth"] for run in runs[name, many]]
        lines.append(Figure.of_rounds(f"{name}: time of the last tenth / second tenth, {many:,} images", growths, ""))
    for name in ("1 worker", "2 workers"):
        for loop in ("loop", "loop for batches"):
            for count in (few, many):
                what = f"{name}: rate / {loop}, {count:,} images"
                lines.append(Figure.of_rounds(what, ratios("rate", (name, count), (loop, count)), ""))
        what = f"{name}: peak memory, {many:,} / {few:,} images"
        lines.append(Figure.of_rounds(what, ratios("mib", (name, many), (name, few)), ""))
        lines.append(Figure.of_rounds(f"{name}: peak MiB, {many:,} images", [r["mib"] for r in runs[name, many]], ""))
    return lines


if __name__ == "__main__":
    main()
