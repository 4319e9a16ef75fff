from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from vgg_models import load_model
from vgg_runtime.errors import ArchitectureError, UsageError, VggDeployError

SOURCE = """
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(2 * 26 * 26, 10))

    def forward(self, x):
        return self.model(x)

class Nested:
    net = Net()

def factory():
    return Net()

def broken():
    raise RuntimeError("no data set here")

def needs(arguments):
    return Net()

class Sized(nn.Module):
    def __init__(self, side, classes: int, *, planes=2, name="net", kernels=((3, 3),), options=None) -> None:
        super().__init__()
        kernel, = kernels
        features = planes * (side - kernel[0] + 1) ** 2 * (options or {"repeats": 1})["repeats"]
        self.model = nn.Sequential(nn.Conv2d(1, planes, kernel), nn.ReLU(), nn.Flatten(), nn.Linear(features, classes))

    def forward(self, x):
        return self.model(x)

def leaving():
    raise SystemExit(7)

def nothing():
    return None

number = 5
"""


@pytest.fixture(autouse=True)
def user_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "usernet.py").write_text(SOURCE)
    (tmp_path / "failing.py").write_text("1 / 0")
    (tmp_path / "leaving.py").write_text("import sys; sys.exit(7)")
    (tmp_path / "loud.py").write_text("raise AssertionError('a path is not imported')")
    (tmp_path / "needy.py").write_text("import a_package_that_is_not_there")
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def checkpoint(tmp_path: Path) -> tuple[Path, nn.Module]:
    net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(2 * 26 * 26, 10))
    torch.save({f"module.model.{key}": value for key, value in net.state_dict().items()}, tmp_path / "net.pth")
    return tmp_path / "net.pth", net


@pytest.mark.parametrize("name", ["Net", "factory", "Nested.net"])
def test_class_factory_or_module_in_current_folder_is_used(checkpoint: tuple[Path, nn.Module], name: str) -> None:
    path, net = checkpoint
    loaded = load_model(path, model=f"usernet:{name}")
    images = torch.randn(2, 1, 28, 28)
    assert torch.equal(loaded.module(images), net(images))
    assert (loaded.architecture.name, loaded.architecture.origin) == (f"usernet:{name}", "user code")
    assert (loaded.input_channels, loaded.input_size, loaded.num_classes) == (1, (28, 28), 10)


@pytest.mark.parametrize(
    "arguments",
    [
        "28, 10",
        "28, classes=10",
        "side=28, classes=10, planes=+2, name='a:b, (c)', options={'repeats': True}",
        "28, 10, kernels=[(3, 3)], options=None",
    ],
)
def test_literal_arguments_reach_the_class(checkpoint: tuple[Path, nn.Module], arguments: str) -> None:
    path, net = checkpoint
    loaded = load_model(path, model=f"usernet:Sized({arguments})")
    images = torch.randn(2, 1, 28, 28)
    assert torch.equal(loaded.module(images), net(images))
    assert loaded.architecture.name == f"usernet:Sized({arguments})"


def test_the_line_to_write_names_the_required_arguments(checkpoint: tuple[Path, nn.Module]) -> None:
    with pytest.raises(ArchitectureError) as caught:
        load_model(checkpoint[0], model="usernet:Sized")
    assert "`model='usernet:Sized(side=..., classes=...)'`" in caught.value.hint


@pytest.mark.parametrize(
    ("spec", "error", "said"),
    [
        ("usernet:Missing", UsageError, "has no 'Missing'"),
        ("no_such_module:Net", UsageError, "no module 'no_such_module'"),
        (":Net", UsageError, "MODULE:CALLABLE"),
        ("vgg99", UsageError, "unknown architecture 'vgg99'"),
        ("loud.py:Net", UsageError, "loud.py is the path of a file"),
        ("folder/loud:Net", UsageError, "folder/loud is the path of a file"),
        ("failing:Net", ArchitectureError, "ZeroDivisionError"),
        ("needy:Net", ArchitectureError, "a_package_that_is_not_there"),
        ("usernet:broken", ArchitectureError, "no data set here"),
        ("leaving:Net", ArchitectureError, "SystemExit: 7"),
        ("usernet:leaving", ArchitectureError, "SystemExit: 7"),
        ("usernet:needs", ArchitectureError, "needs(arguments): missing a required argument: 'arguments'"),
        ("usernet:Sized(28, sides=1)", ArchitectureError, "Sized(side, classes, *, planes=2, name='net'"),
        ("usernet:Sized(28)", ArchitectureError, "missing a required argument: 'classes'"),
        ("usernet:Sized(28, '10')", ArchitectureError, "calling usernet:Sized(28, '10') failed: TypeError"),
        ("usernet:Sized(1 / 0)", UsageError, "'1 / 0' is not a literal"),
        ("usernet:Sized(__import__('os').getcwd())", UsageError, "is not a literal"),
        ("usernet:Sized(*[28, 10])", UsageError, "is not a literal"),
        ("usernet:Sized(**{'side': 28})", UsageError, "is not a literal"),
        ("usernet:Sized({28}, b'10')", UsageError, "'{28}' is not a number, string"),
        ("usernet:Sized(28, 2j)", UsageError, "'2j' is not a number, string"),
        ("usernet:Sized(", UsageError, "is not a name or a call"),
        ("usernet:" + "Sized(" * 300, UsageError, "is not a name or a call"),
        ("usernet:(lambda: 1)()", UsageError, "is not the name of a callable"),
        ("usernet:Nested.net()", ArchitectureError, "calls an nn.Module"),
        ("usernet:nothing", ArchitectureError, "NoneType"),
        ("usernet:number", ArchitectureError, "a int"),
        ("torchvision:resnet", UsageError, "no classifier called 'resnet'"),
    ],
)
def test_what_fails_is_said(
    checkpoint: tuple[Path, nn.Module], spec: str, error: type[VggDeployError], said: str
) -> None:
    with pytest.raises(error) as caught:
        load_model(checkpoint[0], model=spec)
    assert said in caught.value.message
    assert caught.value.hint


def test_a_whole_module_gives_its_weights_to_the_named_class(tmp_path: Path, saved_by_a_stranger) -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(2 * 26 * 26, 10))

    net = Net()
    loaded = load_model(saved_by_a_stranger(net), model="usernet:Net")
    assert loaded.checkpoint.kind == "module"
    images = torch.randn(2, 1, 28, 28)
    assert torch.equal(loaded.module(images), net.model(images))
