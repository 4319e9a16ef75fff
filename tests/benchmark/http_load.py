"""The HTTP endpoint under load, beside one thread that calls the ``Classifier`` with the same image.

python tests/benchmark/http_load.py BUNDLE [--image FILE] [--clients 1,8,32] [--seconds 5] [--rounds 5]

The load is wrk's (apt-get install wrk): every client sends its next request when it has its answer. The classifier and
the numbers of clients take turns in every round, on the same CPUs. In the end there are ten times as many clients as
images may wait; every one of their requests is answered or refused.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import click

from vgg_runtime import Classifier

ROOT = Path(__file__).parents[2]
IMAGE = ROOT / "examples" / "fashion_mnist" / "images" / "coat" / "00006.png"
PENDING = 64

POST = """
local file = io.open(%s, "rb")
wrk.method, wrk.body = "POST", file:read("*a")
wrk.headers["Content-Type"] = "image/png"
local threads, statuses = {}, { "200", "503", "other" }
function setup(thread) table.insert(threads, thread) end
function init(args) counts = { ["200"] = 0, ["503"] = 0, other = 0 } end
function response(status)
  local key = counts[tostring(status)] and tostring(status) or "other"
  counts[key] = counts[key] + 1
end
function done(summary, latency)
  local totals = {}
  for _, status in ipairs(statuses) do
    totals[status] = 0
    for _, thread in ipairs(threads) do totals[status] = totals[status] + thread:get("counts")[status] end
  end
  local errors = summary.errors
  io.write(string.format(
    'JSON {"answered": %%d, "busy": %%d, "other": %%d, "lost": %%d, "seconds": %%f, "p50": %%f, "p99": %%f}\\n',
    totals["200"], totals["503"], totals["other"],
    errors.connect + errors.read + errors.write + errors.timeout,
    summary.duration / 1e6, latency:percentile(50) / 1e3, latency:percentile(99) / 1e3))
end
"""


@dataclass(frozen=True)
class Load:
    """What a number of clients got.

    Attributes:
        answered, busy, other: answers by status: 200, 503, and what else there was.
        lost: requests without an answer.
        p50, p99: milliseconds to an answer, whichever.
    """

    answered: int
    busy: int
    other: int
    lost: int
    seconds: float
    p50: float
    p99: float

    @property
    def rate(self) -> float:
        return self.answered / self.seconds


@contextmanager
def endpoint(bundle: Path) -> Iterator[str]:
    """The URL of a server."""
    program = ROOT / "examples" / "http_endpoint" / "app.py"
    environment = {**os.environ, "PYTHONPATH": f"{ROOT / 'runtime'}:{ROOT / 'build' / 'serving'}"}
    command = [sys.executable, program, bundle, "0", "--max-pending", str(PENDING)]
    with subprocess.Popen(list(map(str, command)), stderr=subprocess.PIPE, text=True, env=environment) as process:
        try:
            assert process.stderr is not None
            addresses = (re.search(r"http://[\d.:]+", line) for line in process.stderr)
            yield next(address[0] for address in addresses if address)
        finally:
            process.terminate()


def ask(url: str, script: Path, clients: int, seconds: float) -> Load:
    command = ["wrk", "-t1", f"-c{clients}", f"-d{seconds:g}s", "--timeout", "30s", "-s", str(script), f"{url}/predict"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return Load(**json.loads(done.stdout.partition("JSON ")[2]))


def call(classifier: Classifier, image: bytes, seconds: float) -> float:
    """Predictions a second of one thread."""
    start, calls = time.perf_counter(), 0
    while (elapsed := time.perf_counter() - start) < seconds:
        classifier.predict(image)
        calls += 1
    return calls / elapsed


@click.command()
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option("--image", type=click.Path(path_type=Path), default=IMAGE)
@click.option("--clients", default="1,8,32")
@click.option("--seconds", default=5.0)
@click.option("--rounds", default=5)
def main(bundle: Path, image: Path, clients: str, seconds: float, rounds: int) -> None:
    counts = [int(count) for count in clients.split(",")]
    loads: dict[int, list[Load]] = {count: [] for count in counts}
    with (
        tempfile.TemporaryDirectory() as folder,
        endpoint(bundle) as url,
        Classifier(bundle, device="cpu") as classifier,
    ):
        script = Path(folder, "post.lua")
        script.write_text(POST % json.dumps(str(image.absolute())))
        ask(url, script, max(counts), 1)  # the first calls are slower
        alone = []
        for _ in range(rounds):
            alone.append(call(classifier, image.read_bytes(), seconds))
            for count in counts:
                loads[count].append(ask(url, script, count, seconds))
        flood = ask(url, script, 10 * PENDING, seconds)
    print(f"one thread  {median(alone):8.1f}/s")
    for count, rounds_of in loads.items():
        rate, p50, p99 = (median(getattr(load, name) for load in rounds_of) for name in ("rate", "p50", "p99"))
        refused = sum(load.busy + load.other + load.lost for load in rounds_of)
        print(
            f"{count:3} clients {rate:8.1f}/s  {rate / median(alone):5.2f} of one thread  "
            f"p50 {p50:6.1f} ms  p99 {p99:6.1f} ms  {refused} refused or lost"
        )
    print(f"{10 * PENDING} clients: {flood}")


if __name__ == "__main__":
    main()
