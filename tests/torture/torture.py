"""Hostile and damaged files by the thousand; each campaign is printed as one line with its counts.

python tests/torture/torture.py [CAMPAIGN...] [--scale 0.01] [--minutes 5] [--seed 0]
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar
from unittest import mock

from denial_of_service import KINDS, denials_of_service
from faulty_exports import concurrent_exports, faulty_exports
from flipped_bits import flipped_bits
from fork_server import CPU_SECONDS, MEBIBYTES, Answer, ForkServer, fork_server
from mutated_checkpoints import mutated_checkpoints
from mutated_images import mutated_images
from mutated_models import mutated_models
from pickles import BENIGN, MALICIOUS, benign_pickles, malicious_pickles
from soak import soak

from vgg_export import export

T = TypeVar("T")

Cases = Iterator[tuple[str, Answer]]


@dataclass(frozen=True)
class Campaign:
    """Many calls of functions of one module.

    Attributes:
        module: the module, which the server loads.
        full: how many calls a complete run has.
        accepted: how a call may end.
        run: makes that many calls, with a folder to write to and a seed.
    """

    module: str
    full: int
    accepted: tuple[str, ...]
    run: Callable[[ForkServer, Path, int, int], Any]


def _spread(cases: Sequence[T], count: int) -> list[T]:
    """So many of the cases, at equal distances."""
    return [cases[number * len(cases) // count] for number in range(count)]


def _example_bundle(folder: Path) -> Path:
    example, bundle = Path(__file__).parents[2] / "examples/fashion_mnist", folder / "example.bundle"
    labels = example / "class_indices.json"
    export(example / "slim_vgg.pth", bundle, preprocess=example / "preprocess.json", labels=labels)
    return bundle


def _repeated(server: ForkServer, folder: Path, function: str, calls: int, processes: int) -> Cases:
    bundle = _example_bundle(folder)
    for _ in range(processes):
        yield from soak(server, folder, bundle, function, calls)


CAMPAIGNS: dict[str, Campaign] = {
    "mutated-checkpoints": Campaign("reading", 100_000, ("refused", "read"), mutated_checkpoints),
    "denials-of-service": Campaign(
        "reading",
        len(KINDS),
        ("refused", "read"),
        lambda server, folder, count, _: denials_of_service(server, folder, _spread(KINDS, count)),
    ),
    "malicious-pickles": Campaign(
        "reading",
        len(MALICIOUS),
        ("refused",),
        lambda server, folder, count, _: malicious_pickles(server, folder, _spread(MALICIOUS, count)),
    ),
    "benign-pickles": Campaign(
        "reading",
        len(BENIGN),
        ("read",),
        lambda server, folder, count, _: benign_pickles(server, folder, _spread(BENIGN, count)),
    ),
    "flipped-bits": Campaign(
        "flipped_bits",
        10_000,
        ("refused",),
        lambda server, folder, count, seed: flipped_bits(server, _example_bundle(folder), count, seed),
    ),
    "mutated-images": Campaign("mutated_images", 100_000, ("refused", "read"), mutated_images),
    "mutated-models": Campaign(
        "mutated_models",
        50_000,
        ("refused", "read", "slow", "large"),
        lambda server, folder, count, seed: mutated_models(server, folder, _example_bundle(folder), count, seed),
    ),
    "faulty-exports": Campaign("faulty_exports", 2_200, ("old", "new"), faulty_exports),
    "concurrent-exports": Campaign("faulty_exports", 200, ("new",), concurrent_exports),
    "soak": Campaign(
        "soak",
        20,
        ("read",),
        lambda server, folder, count, _: _repeated(server, folder, "predict_for_long", 50_000, count),
    ),
    "open-and-close": Campaign(
        "soak",
        1,
        ("read",),
        lambda server, folder, count, _: _repeated(server, folder, "open_and_close", 10_000, count),
    ),
}


def _run(name: str, options: argparse.Namespace) -> bool:
    """Print each fault, and then the counts on one line; return whether there was no fault."""
    campaign, counts, start = CAMPAIGNS[name], Counter[str](), time.monotonic()
    count = max(1, round(options.scale * campaign.full))
    with (
        tempfile.TemporaryDirectory() as cache,
        mock.patch.dict(os.environ, VGG_DEPLOY_CACHE=cache),
        tempfile.TemporaryDirectory() as folder,
        fork_server(campaign.module) as server,
        closing(campaign.run(server, Path(folder), count, options.seed)) as cases,
    ):
        for case, (outcome, detail) in cases:
            counts[outcome] += 1
            if outcome not in campaign.accepted:
                print(f"  {outcome}: {case}: {detail}", flush=True)
            if time.monotonic() - start > 60 * options.minutes:
                break
    outcomes = ", ".join(f"{number:,} {outcome}" for outcome, number in counts.most_common())
    faults = sum(number for outcome, number in counts.items() if outcome not in campaign.accepted)
    seconds = time.monotonic() - start
    print(
        f"{name}: {counts.total():,} of {campaign.full:,}: {outcomes}; {faults} faults; {seconds:.0f} s, "
        f"seed {options.seed}",
        flush=True,
    )
    return not faults


def main() -> None:
    """Run the campaigns; the exit code is 1 if there was a fault."""
    parser = argparse.ArgumentParser()
    parser.add_argument("campaigns", nargs="*", metavar="CAMPAIGN", help=f"all by default: {', '.join(CAMPAIGNS)}")
    parser.add_argument("--scale", type=float, default=1.0, metavar="SHARE", help="of the full number of files")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="end each campaign after so many")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    print(f"limits of each file: {CPU_SECONDS} s of CPU time, its size and {MEBIBYTES} MiB of memory", flush=True)
    clean = [_run(name, options) for name in options.campaigns or CAMPAIGNS]
    raise SystemExit(not all(clean))


if __name__ == "__main__":
    main()
