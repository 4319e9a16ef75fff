"""Batches that the Ray Serve example forms of single images: how large they are, and what its clients get.

python tests/benchmark/ray_serve.py BUNDLE [--clients 1,4,16] [--seconds 5] [--rounds 3] [--replicas 2]

It needs vgg-deploy[cpu], ray[serve] and wrk (apt-get install wrk), and a network that has nothing but this machine:
unshare --map-root-user --net sh -c 'ip link set lo up && exec python ...'. The numbers of clients take turns in every
round; each sends its next request when it has its answer. Batches are counted by Ray's own metric, as its histogram of
their sizes has only ranges.
"""

from __future__ import annotations

import json
import os
import re
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from urllib.request import urlopen

import click
import ray
from http_load import IMAGE, POST, ROOT, Load, ask
from ray import serve

EXAMPLE = str(ROOT / "examples" / "ray_serve")

# How often replicas report their metrics, in seconds.
REPORTS = 1


def batches() -> float:
    """How many batches all replicas have run."""
    time.sleep(3 * REPORTS)
    (node,) = ray.nodes()
    with urlopen(f"http://127.0.0.1:{node['MetricsExportPort']}/metrics") as page:
        counters = re.findall(r"^ray_serve_batches_processed(?:_total)?{.*} (\S+)$", page.read().decode(), re.MULTILINE)
    return sum(map(float, counters))


def load(url: str, script: Path, clients: int, seconds: float) -> tuple[Load, float]:
    """What so many clients got, and the mean size of their batches."""
    before = batches()
    answers = ask(url, script, clients, seconds)
    return answers, answers.answered / (batches() - before)


@click.command()
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option("--image", type=click.Path(path_type=Path), default=IMAGE)
@click.option("--clients", default="1,4,16")
@click.option("--seconds", default=5.0)
@click.option("--rounds", default=3)
@click.option("--replicas", default=2)
def main(bundle: Path, image: Path, clients: str, seconds: float, rounds: int, replicas: int) -> None:
    sys.path.append(EXAMPLE)
    os.environ["PYTHONPATH"] = os.pathsep.join([EXAMPLE, os.environ.get("PYTHONPATH", "")])  # for the replicas
    from app import application

    ray.init("local", num_cpus=replicas + 1, _system_config={"metrics_report_interval_ms": 1000 * REPORTS})
    serve.run(application({"bundle": str(bundle.absolute()), "replicas": replicas}))
    loads: dict[int, list[tuple[Load, float]]] = {int(count): [] for count in clients.split(",")}
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder, "post.lua")
        script.write_text(POST % json.dumps(str(image.absolute())))
        ask("http://127.0.0.1:8000", script, max(loads), 1)  # the first calls are slower
        for _ in range(rounds):
            for count, results in loads.items():
                results.append(load("http://127.0.0.1:8000", script, count, seconds))
    for count, results in loads.items():
        rate, p50, p99 = (median(getattr(each, name) for each, _ in results) for name in ("rate", "p50", "p99"))
        refused = sum(each.busy + each.other + each.lost for each, _ in results)
        size = median(size for _, size in results)
        print(
            f"{count:3} clients  {size:5.2f} images a batch {rate:8.1f}/s  "
            f"p50 {p50:6.1f} ms  p99 {p99:6.1f} ms  {refused} refused or lost"
        )
    serve.shutdown()
    ray.shutdown()


if __name__ == "__main__":
    main()
