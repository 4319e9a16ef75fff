"""Time and memory of reading a VGG-16 checkpoint, in fresh processes that take turns.

    python tests/benchmark/checkpoint_loading.py [OTHER_MODELS_FOLDER] [--rounds N]

OTHER_MODELS_FOLDER is the ``models`` folder of another checkout; the last line is then the ratio of the medians.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median

_READ = """
import json, re, sys, time
from pathlib import Path
from vgg_models.checkpoint.reading import read_checkpoint
def peak():  # of this program alone: ru_maxrss begins with that of the parent
    return int(re.search("VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])
before = peak()
start = time.perf_counter()
read_checkpoint(Path(sys.argv[1]))
seconds = time.perf_counter() - start
print(json.dumps([seconds, (peak() - before) / 1024]))
"""


def _measure(checkpoint: Path, models: Path) -> tuple[float, float]:
    """Return seconds, and MiB that the peak of resident memory grew by."""
    path = os.pathsep.join([str(models), os.environ.get("PYTHONPATH", "")])
    result = subprocess.run(
        [sys.executable, "-c", _READ, str(checkpoint)],
        env={**os.environ, "PYTHONPATH": path},
        check=True,
        capture_output=True,
        text=True,
    )
    seconds, mebibytes = json.loads(result.stdout)
    return seconds, mebibytes


def main() -> None:
    """Print the medians of every folder."""
    parser = argparse.ArgumentParser()
    parser.add_argument("other", nargs="?", type=Path)
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()

    import torch

    from vgg_models import load_model

    here = Path(__file__).parents[2] / "models"
    folders = [here] if options.other is None else [here, options.other]
    with tempfile.TemporaryDirectory() as folder:
        checkpoint = Path(folder) / "vgg16.pth"
        torch.save(load_model("random:vgg16").module.state_dict(), checkpoint)
        results: dict[Path, list[tuple[float, float]]] = {models: [] for models in folders}
        for _ in range(options.rounds):
            for models in folders:
                results[models].append(_measure(checkpoint, models))
    medians = {models: [median(column) for column in zip(*rows, strict=True)] for models, rows in results.items()}
    for models, (seconds, mebibytes) in medians.items():
        print(f"{models}: {seconds:.3f} s, {mebibytes:.0f} MiB")
    if options.other is not None:
        ratios = [mine / theirs for mine, theirs in zip(medians[here], medians[options.other], strict=True)]
        print(f"ratio: {ratios[0]:.2f} of the time, {ratios[1]:.2f} of the memory")


if __name__ == "__main__":
    main()
