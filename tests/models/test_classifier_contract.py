from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from vgg_models import load_model
from vgg_runtime.errors import ArchitectureError

SOURCE = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.features = nn.Conv2d(3, 4, 3, padding=1)
        self.head = nn.Linear(4, 5)

    def scores(self, image):
        return self.head(self.features(image).mean(dim=(2, 3)))

class TwoInputs(Net):
    def forward(self, image, meta):
        return self.scores(image) + meta

class Auxiliary(Net):
    def forward(self, image):
        return self.scores(image), self.scores(image)

class Detector(Net):
    def forward(self, image):
        return {"boxes": image.flatten(1)[:, :4], "labels": [1]}

class Segmenter(Net):
    def forward(self, image):
        return self.features(image)

class OneNumber(Net):
    def forward(self, image):
        return self.scores(image)[:, :1]

class Optional(Net):
    def forward(self, image, meta=None, *others, **options):
        return self.scores(image)
"""


@pytest.fixture
def checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "contractnets.py").write_text(SOURCE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    module = importlib.import_module("contractnets")
    monkeypatch.delitem(sys.modules, "contractnets")
    torch.manual_seed(0)
    torch.save(module.Net().state_dict(), tmp_path / "net.pth")
    return tmp_path / "net.pth"


REFUSALS = [
    ("TwoInputs", "forward takes 2 inputs: image, meta;"),
    ("Auxiliary", "gives a tuple of 2 outputs: (1, 5) and (1, 5), for one image"),
    ("Detector", "gives a dict of 2 outputs: boxes (1, 4) and labels a list, for one image"),
    ("Segmenter", "gives (1, 4, 32, 32) for one image"),
    ("OneNumber", "gives (1, 1), one number, for one image"),
]


@pytest.mark.parametrize("size", [None, (32, 32)], ids=["open", "given"])
@pytest.mark.parametrize(("name", "said"), REFUSALS)
def test_more_than_images_to_scores_is_refused_by_what_it_is(
    checkpoint: Path, name: str, said: str, size: tuple[int, int] | None
) -> None:
    with pytest.raises(ArchitectureError) as caught:
        load_model(checkpoint, model=f"contractnets:{name}", input_size=size)
    assert said.replace("32, 32", "32, 32" if size else "28, 28") in caught.value.message
    assert "one image in and one vector of class scores out" in caught.value.message
    assert "input_size" not in caught.value.hint


@pytest.mark.parametrize("name", ["TwoInputs", "Auxiliary", "Segmenter", "OneNumber"])
def test_the_subclass_in_the_hint_is_a_way_out(checkpoint: Path, name: str, untangled: Callable[[str], str]) -> None:
    with pytest.raises(ArchitectureError) as caught:
        load_model(checkpoint, model=f"contractnets:{name}", input_size=(32, 32))
    (checkpoint.parent / "scores.py").write_text(untangled(caught.value.hint).replace("meta=...", "meta=0.5"))
    loaded = load_model(checkpoint, model="scores:Scores", input_size=(32, 32))
    assert loaded.num_classes == {"Segmenter": 4, "OneNumber": 2}.get(name, 5)


@pytest.fixture
def untangled(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], str]:
    """The code of a hint; what it is saved as is imported anew by each test."""
    monkeypatch.delitem(sys.modules, "scores", raising=False)
    return lambda hint: "\n".join(line.removeprefix(" " * 11) for line in hint.splitlines()[1:])


def test_inputs_that_may_be_left_out_are_no_obstacle(checkpoint: Path) -> None:
    assert load_model(checkpoint, model="contractnets:Optional", input_size=(32, 32)).num_classes == 5
