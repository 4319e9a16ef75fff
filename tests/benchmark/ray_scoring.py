"""Scoring on Ray: its rate, on one machine and on nodes that it simulates, what is serial of it, and kills.

python tests/benchmark/ray_scoring.py rates|nodes|serial|kills BUNDLE

By the Python of ``make test-ray``, and in a network that has nothing but this machine, as Ray listens on its address:
unshare --map-root-user --net sh -c 'ip link set lo up && exec build/ray/bin/python tests/benchmark/ray_scoring.py ...'

Every run is a process of its own. Of a small and a large one, the time that an image takes is the difference of their
times, and what is left of either is the start: processes, connections, models.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass
from itertools import cycle, islice
from pathlib import Path
from typing import Any
from unittest.mock import patch

import click
import psutil
from figure import Figure
from ray.cluster_utils import Cluster
from scoring import PHOTOS, write_lists

from vgg_runtime import Prediction
from vgg_runtime._internal.json_codec import to_json
from vgg_runtime.imaging.folders import find_images
from vgg_score import score
from vgg_score.output import RunMetadata, ShardDirectory
from vgg_score.plan import Shard
from vgg_score.rows import row
from vgg_score.scoring import DEFAULT_SHARD_SIZE
from vgg_score.shard_scoring import Counts

THREADS = len(os.sched_getaffinity(0))


@dataclass(frozen=True)
class Run:
    """What a run took.

    Attributes:
        seconds: in all.
        listing: of them, before the first worker was started.
        cpu: seconds of all CPUs of this machine.
    """

    images: int
    seconds: float
    listing: float
    cpu: float

    @property
    def rate(self) -> float:
        return self.images / self.seconds


@dataclass(frozen=True)
class Pair:
    """A run of few images and one of many."""

    few: Run
    many: Run

    def each(self, value: str = "seconds") -> float:
        """What an image takes, the start excluded."""
        more = getattr(self.many, value) - getattr(self.few, value)
        return float(more / (self.many.images - self.few.images))

    @property
    def start(self) -> float:
        return self.few.seconds - self.few.images * self.each()


class IdleActor:
    """Answers that a shard is scored: what is left of a run is what its driver does."""

    def __init__(self, job: object) -> None:
        pass

    def __call__(self, batch: dict[str, Any]) -> dict[str, list[str]]:
        counts = Counts(Shard.parse(batch["shard"][0]).span.images, shards=1)
        return {"counts": [json.dumps(to_json(counts))], "error": [""]}


def busy_seconds() -> float:
    """CPU seconds of all processes since this machine started."""
    times = psutil.cpu_times()
    return float(times.user + times.nice + times.system)


def run_alone(bundle: Path, images: Path, *, workers: int, ray: str | None, idle: bool = False) -> Run:
    """Score ``images`` in a process of its own."""
    command = [sys.executable, __file__, "once", str(bundle), str(images), "--workers", str(workers)]
    command += ["--ray", ray] * (ray is not None) + ["--idle"] * idle
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return Run(**json.loads(done.stdout.splitlines()[-1]))


def run_pair(bundle: Path, lists: dict[int, Path], **options: Any) -> Pair:
    """Score a list of few images, and then one of many."""
    return Pair(*(run_alone(bundle, images, **options) for images in lists.values()))


@contextmanager
def cluster(nodes: int) -> Iterator[Cluster]:
    """A cluster on this machine: a head that scores nothing, and nodes of one CPU each."""
    simulated = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    try:
        for _ in range(nodes):
            simulated.add_node(num_cpus=1)
        yield simulated
    finally:
        simulated.shutdown()


def print_rounds(what: str, values: list[float]) -> None:
    click.echo(Figure.of_rounds(what, values, "").line())


cli = click.Group()
bundle_argument = click.argument("bundle", type=click.Path(path_type=Path))
photos_option = click.option("--photos", type=click.Path(path_type=Path), default=PHOTOS, help="Real images.")
few_option = click.option("--few", default=5_000, show_default=True)
many_option = click.option("--many", default=50_000, show_default=True)
rounds_option = click.option("--rounds", default=3, show_default=True)


@cli.command(hidden=True)
@bundle_argument
@click.argument("images", type=click.Path(path_type=Path))
@click.option("--workers", type=int)
@click.option("--ray")
@click.option("--idle", is_flag=True)
def once(bundle: Path, images: Path, workers: int, ray: str | None, idle: bool) -> None:
    """Score a list of images, and print the Run as JSON."""
    stand_in = patch("vgg_score.on_ray._ShardActor", IdleActor) if idle else nullcontext()
    with tempfile.TemporaryDirectory() as folder, stand_in:
        begun, busy = time.perf_counter(), busy_seconds()
        summary = score(bundle, images, Path(folder, "out"), workers=workers, threads=workers, device="cpu", ray=ray)
        seconds = time.perf_counter() - begun
    click.echo(json.dumps(asdict(Run(summary.images, seconds, seconds - summary.seconds, busy_seconds() - busy))))


@cli.command()
@bundle_argument
@photos_option
@few_option
@many_option
@rounds_option
def rates(bundle: Path, photos: Path, few: int, many: int, rounds: int) -> None:
    """Ray beside the local scorer, both with a worker for each CPU."""
    pairs: dict[str, list[Pair]] = {"local": [], "Ray": []}
    with tempfile.TemporaryDirectory() as folder:
        lists = write_lists(Path(folder), photos, (few, many))
        for _ in range(rounds):
            for name, address in ("local", None), ("Ray", "local"):
                pairs[name].append(run_pair(bundle, lists, workers=THREADS, ray=address))
    of_pair: dict[str, Callable[[Pair], float]] = {
        f"{few:,} images, start included": lambda pair: pair.few.rate,
        f"{many:,} images, start included": lambda pair: pair.many.rate,
        "start excluded": lambda pair: 1 / pair.each(),
    }
    for what, value in of_pair.items():
        for name, results in pairs.items():
            print_rounds(f"{name}: images a second, {what}", [value(pair) for pair in results])
        ratios = [value(ours) / value(local) for ours, local in zip(pairs["Ray"], pairs["local"], strict=True)]
        print_rounds(f"rate, Ray / local, {what}", ratios)
    for name, results in pairs.items():
        print_rounds(f"{name}: seconds to start", [pair.start for pair in results])


@cli.command()
@bundle_argument
@photos_option
@few_option
@many_option
@rounds_option
@click.option("--nodes", "counts", default="1,2,4", show_default=True)
def nodes(bundle: Path, photos: Path, few: int, many: int, rounds: int, counts: str) -> None:
    """Clusters of several nodes, with one worker each, that share this machine's CPUs."""
    pairs: dict[int, list[Pair]] = {int(count): [] for count in counts.split(",")}
    with tempfile.TemporaryDirectory() as folder:
        lists = write_lists(Path(folder), photos, (few, many))
        for _ in range(rounds):
            for count, results in pairs.items():
                with cluster(count) as simulated:
                    results.append(run_pair(bundle, lists, workers=count, ray=simulated.address))
    for count, results in pairs.items():
        name = f"{count} node{'s' * (count > 1)}"
        print_rounds(f"{name}: images a second, start excluded", [1 / pair.each() for pair in results])
        print_rounds(f"{name}: CPU milliseconds of an image", [1e3 * pair.each("cpu") for pair in results])
        print_rounds(f"{name}: seconds to start, in a running cluster", [pair.start for pair in results])


@cli.command()
@bundle_argument
@photos_option
@click.option("--few", default=50_000, show_default=True)
@click.option("--many", default=1_000_000, show_default=True)
@rounds_option
def serial(bundle: Path, photos: Path, few: int, many: int, rounds: int) -> None:
    """What more nodes do not make faster: runs whose actors answer at once that a shard is scored."""
    pairs = []
    with tempfile.TemporaryDirectory() as folder:
        lists = write_lists(Path(folder), photos, (few, many))
        for _ in range(rounds):
            pairs.append(run_pair(bundle, lists, workers=THREADS, ray="local", idle=True))
    print_rounds(f"seconds, {many:,} images", [pair.many.seconds for pair in pairs])
    print_rounds("of these to start", [pair.start for pair in pairs])
    print_rounds("of these to list the images", [pair.many.listing for pair in pairs])
    print_rounds("milliseconds of a shard", [1e3 * DEFAULT_SHARD_SIZE * pair.each() for pair in pairs])
    print_rounds("milliseconds to write one, which workers do", [1e3 * seconds_to_write() for _ in range(rounds)])


def seconds_to_write() -> float:
    """Seconds until a shard of Parquet with five classes an image is on the disk."""
    metadata = RunMetadata("", "onnx-fp32", 5, "parquet", DEFAULT_SHARD_SIZE, 0, 0, "")
    predictions = [Prediction(f"class {index}", index, 1 / (index + 2)) for index in range(5)]
    rows = [row(f"/photos/{number:06d}.png", predictions, 5) for number in range(DEFAULT_SHARD_SIZE)]
    with tempfile.TemporaryDirectory() as folder:
        shards = ShardDirectory(Path(folder), metadata)
        shards.write(0, rows, 5)  # pyarrow is imported
        begun = time.perf_counter()
        for index in range(20):
            shards.write(index, rows, 5)
        return (time.perf_counter() - begun) / 20


def worker_processes(simulated: Cluster, driver: psutil.Process) -> list[psutil.Process]:
    started = psutil.Process().children(recursive=True)
    alive = (process for process in started if process.status() != psutil.STATUS_ZOMBIE)
    return [process for process in alive if "_ShardActor" in " ".join(process.cmdline())][:1]


def node_processes(simulated: Cluster, driver: psutil.Process) -> list[psutil.Process]:
    node = min(simulated.worker_nodes, key=lambda node: node.node_id)
    raylet = psutil.Process(node.all_processes["raylet"][0].process.pid)
    return [raylet, *raylet.children(recursive=True)]


def driver_processes(simulated: Cluster, driver: psutil.Process) -> list[psutil.Process]:
    return [driver]


VICTIMS = {"a worker": worker_processes, "a node": node_processes, "the driver": driver_processes}


@cli.command()
@bundle_argument
@photos_option
@click.option("--images", default=20_000, show_default=True)
@click.option("--shard-size", default=DEFAULT_SHARD_SIZE, show_default=True)
def kills(bundle: Path, photos: Path, images: int, shard_size: int) -> None:
    """A worker, a node and the driver are killed in the middle of a run; each image is in the output once."""
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder, "source")
        source.mkdir()
        for number, photo in enumerate(islice(cycle(find_images(photos)), images)):
            Path(source, f"{number:06d}.png").symlink_to(photo)
        for victim in VICTIMS:
            output = Path(folder, victim)
            with cluster(2) as simulated:
                command = [sys.executable, "-c", "from vgg_run.cli import main; main()", "score", bundle, source]
                command += ["-o", output, "--resume", "--format", "jsonl", "--shard-size", shard_size, "--top-k", 1]
                command += ["--device", "cpu", "--workers", 2, "--ray", simulated.address]
                status = run_and_kill(list(map(str, command)), victim, simulated, output, images // shard_size // 2)
            click.echo(f"{victim} killed {status}: {describe_rows(output, source)}")


def run_and_kill(command: list[str], victim: str, simulated: Cluster, output: Path, shards: int) -> str:
    """Kill when so many shards are there; return how the run went on, after it was resumed if it had to be."""
    driver = psutil.Popen(command)
    while (present := len(list(output.glob("part-*")))) < shards:
        time.sleep(0.05)
        if driver.poll() is not None:
            raise SystemExit("the run ended before the kill")
    for process in VICTIMS[victim](simulated, driver):
        process.kill()
    codes = [driver.wait()]
    if codes[0]:
        codes.append(subprocess.run(command).returncode)
    return f"after {present} shards, exit code {', resumed '.join(map(str, codes))}"


def describe_rows(output: Path, source: Path) -> str:
    """How many images of ``source`` are in ``output``, and how often."""
    lines = (line for file in output.glob("part-*") for line in file.read_text().splitlines())
    times = Counter(json.loads(line)["id"] for line in lines)
    expected = {str(file) for file in source.iterdir()}
    once = sum(times[image] == 1 for image in expected)
    return f"{once:,} of {len(expected):,} images once; {times.total() - once:,} other rows"


if __name__ == "__main__":
    cli()
