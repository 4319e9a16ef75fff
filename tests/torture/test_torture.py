"""The campaigns of ``make torture``, small: a few of each, in seconds."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from tempfile import mkdtemp

import faults
import pytest
from denial_of_service import KINDS, denials_of_service
from faulty_exports import concurrent_exports, faulty_exports
from flipped_bits import flipped_bits
from fork_server import Answer, ForkServer, fork_server
from mutated_checkpoints import mutated_checkpoints, save_originals
from mutated_images import make_originals, mutated_images
from mutated_models import mutated_models
from pickles import BENIGN, MALICIOUS, benign_pickles, idle_gadgets, malicious_pickles
from PIL import Image
from soak import soak

from vgg_runtime.bundle.directory import Bundle
from vgg_runtime.errors import ImageError
from vgg_runtime.imaging.decode import read_image

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # torch.jit is deprecated
    pytest.mark.filterwarnings("ignore:Duplicate name"),  # zipfile, of what is meant to be an odd archive
]


@pytest.fixture(scope="module")
def reading() -> Iterator[ForkServer]:
    with fork_server("reading") as server:
        yield server


def others(cases: Iterator[tuple[str, Answer]], *accepted: str) -> list[tuple[str, Answer]]:
    """The cases that did not end as they may; there must be cases at all."""
    everything = list(cases)
    assert everything
    return [case for case in everything if case[1].outcome not in accepted]


@pytest.mark.parametrize("outcome", faults.__all__)
def test_the_server_tells_how_a_call_ended(outcome: str, tmp_path: Path) -> None:
    with fork_server("faults") as server:
        assert server.call(outcome, tmp_path).outcome == outcome


def test_mutated_checkpoints_are_refused_or_read_right(reading: ForkServer, tmp_path: Path) -> None:
    assert others(mutated_checkpoints(reading, tmp_path, 60, seed=0), "refused", "read") == []


def test_both_readers_agree_on_unchanged_checkpoints(reading: ForkServer, tmp_path: Path) -> None:
    for path in save_originals(tmp_path):
        answer = reading.call("read", path)
        assert answer == reading.call("read_independently", path)
        assert answer.outcome == "read"


def test_small_checkpoints_cannot_ask_for_much(reading: ForkServer, tmp_path: Path) -> None:
    assert others(denials_of_service(reading, tmp_path, KINDS[::5]), "refused", "read") == []


def test_malicious_pickles_leave_no_canary(reading: ForkServer, tmp_path: Path) -> None:
    assert others(malicious_pickles(reading, tmp_path, MALICIOUS[::20]), "refused") == []


def test_every_gadget_leaves_a_canary_where_it_runs(reading: ForkServer, tmp_path: Path) -> None:
    assert idle_gadgets(reading, tmp_path) == []


def test_benign_pickles_are_read(reading: ForkServer, tmp_path: Path) -> None:
    cases = [case for case in BENIGN if case[0] in ("mobilenet_v3_small", "squeezenet1_0")]
    assert others(benign_pickles(reading, tmp_path, cases), "read") == []


def test_flipped_bits_are_found(example_bundle: Bundle, tmp_path: Path) -> None:
    bundle = shutil.copytree(example_bundle.directory, tmp_path / "copy.bundle")
    with fork_server("flipped_bits") as server:
        assert server.call("verify", bundle).outcome == "read"
        assert others(flipped_bits(server, bundle, 60, seed=0), "refused") == []


def test_mutated_images_are_refused_or_read(tmp_path: Path) -> None:
    with fork_server("mutated_images") as server:
        assert others(mutated_images(server, tmp_path, 100, seed=0), "refused", "read") == []


def test_unchanged_images_are_read_if_8_bits_deep(tmp_path: Path) -> None:
    originals = make_originals()
    assert len({name.split()[0] for name in originals}) >= 20
    for name, content in originals.items():
        (tmp_path / name).write_bytes(content)
        with Image.open(tmp_path / name) as image:
            is_refused = image.format == "EPS" or image.mode.startswith(("I", "F"))  # runs a program; 16 or 32 bits
        with pytest.raises(ImageError, match=name) if is_refused else nullcontext():
            read_image(tmp_path / name)


def test_mutated_models_leave_the_host_alive(example_bundle: Bundle, tmp_path: Path) -> None:
    with fork_server("mutated_models") as server:
        cases = mutated_models(server, tmp_path, example_bundle.directory, 40, seed=0)
        assert others(cases, "refused", "read", "slow", "large") == []


def test_exports_meet_faults_and_one_another(tmp_path: Path) -> None:
    with fork_server("faulty_exports") as server:
        for campaign in (faulty_exports, partial(concurrent_exports, together=2)):
            folder = Path(mkdtemp(dir=tmp_path))
            assert others(campaign(server, folder, 1, 0), "old", "new") == []


@pytest.mark.parametrize(
    ("function", "outcome"), [("predict_for_long", "read"), ("predict_and_leak", "grown"), ("open_and_close", "read")]
)
def test_memory_that_stays_is_noticed(example_bundle: Bundle, tmp_path: Path, function: str, outcome: str) -> None:
    with fork_server("soak") as server:
        assert others(soak(server, tmp_path, example_bundle.directory, function, 60), outcome) == []
