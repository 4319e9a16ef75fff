from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import replace
from functools import partialmethod
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from vgg_bench.measurement.pytorch import IN_PYTORCH, open_checkpoint
from vgg_models import load_model
from vgg_runtime.backends.base import SessionConfig
from vgg_runtime.bundle.directory import Bundle
from vgg_runtime.bundle.manifest import Architecture, Manifest
from vgg_runtime.metrics import snr_db


@pytest.fixture
def manifest(example_bundle: Bundle) -> Manifest:
    return example_bundle.manifest


@pytest.fixture(autouse=True)
def threads_as_before() -> Iterator[None]:
    """PyTorch has one setting for the whole process."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


# torch.compile imports what torch itself calls deprecated.
@pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning")
@pytest.mark.parametrize(
    ("how", "least"),
    [
        ("eager", 100),
        ("compiled", 100),
        ("channels-last", 100),
        ("autocast-fp16", 40),
        ("autocast-bf16", 25),
        ("compiled-fp16", 40),
    ],
)
def test_the_checkpoint_answers_as_the_module_does(
    example, manifest: Manifest, how: str, least: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert how in IN_PYTORCH["cuda"]
    if shutil.which("g++") is None:  # the graph that was captured is run as it is, instead of C++ made of it
        monkeypatch.setattr(nn.Module, "compile", partialmethod(nn.Module.compile, backend="eager"))
    batch = np.random.default_rng(0).random((2, 1, 28, 28), dtype=np.float32)
    backend = open_checkpoint(how, example.checkpoint, SessionConfig("cpu", 1), manifest)
    with torch.inference_mode():
        expected = load_model(example.checkpoint).module(torch.from_numpy(batch)).numpy()
    found = snr_db(expected, backend.run(batch))
    assert least < found <= (least + 40 if least < 100 else np.inf)  # what rounds less is not what it is called
    assert torch.get_num_threads() == 1
    assert backend.device == "cpu"


NET = """
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList([nn.Conv2d(1, 2, 3), nn.Linear(2, 10)])

    def forward(self, x):
        return self.layers[1](self.layers[0](x).mean(dim=(2, 3)))
"""


def test_the_users_own_class_is_known_to_the_manifest(manifest: Manifest, tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "ownnet.py").write_text(NET)
    monkeypatch.chdir(tmp_path)
    weights = {"layers.0.weight": torch.rand(2, 1, 3, 3), "layers.0.bias": torch.zeros(2)}
    torch.save(weights | {"layers.1.weight": torch.rand(10, 2), "layers.1.bias": torch.rand(10)}, "net.pth")
    named = replace(manifest, architecture=Architecture("ownnet:Net", "", "user code"))
    backend = open_checkpoint("eager", tmp_path / "net.pth", SessionConfig("cpu", 1), named)
    blank = np.zeros((1, 1, 28, 28), np.float32)
    np.testing.assert_allclose(backend.run(blank)[0], torch.load("net.pth")["layers.1.bias"], rtol=1e-6)


def test_averaged_weights_are_known_to_the_manifest(example, manifest: Manifest, tmp_path: Path) -> None:
    weights = torch.load(example.checkpoint, weights_only=True)
    average = {key: value * 0.5 for key, value in weights.items()}
    torch.save({"model": weights, "ema": average}, tmp_path / "last.pth")
    averaged = replace(manifest, source=replace(manifest.source, averaged=True))
    batch = np.random.default_rng(0).random((1, 1, 28, 28), dtype=np.float32)
    outputs = open_checkpoint("eager", tmp_path / "last.pth", SessionConfig("cpu", 1), averaged).run(batch)
    with torch.inference_mode():
        expected = load_model(tmp_path / "last.pth", weights="ema").module(torch.from_numpy(batch)).numpy()
    assert snr_db(expected, outputs) > 100
