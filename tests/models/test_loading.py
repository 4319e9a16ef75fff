from __future__ import annotations

import hashlib
import subprocess
import sys
from collections.abc import Callable
from dataclasses import FrozenInstanceError
from pathlib import Path
from urllib.error import URLError

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

import vgg_models
from vgg_models import load_model
from vgg_models._torchvision import import_torchvision
from vgg_models.architectures import torchvision
from vgg_models.architectures.vgg import VGG, make_features
from vgg_models.checkpoint.state_dict import fit
from vgg_models.checkpoint.whole_module import check_module
from vgg_models.types import CheckpointInfo, LoadedModel
from vgg_runtime.bundle.manifest import Architecture
from vgg_runtime.errors import ArchitectureError, CheckpointError, UsageError

Save = Callable[[object], Path]


@pytest.fixture
def slim() -> VGG:
    return VGG(make_features((4, "M", 4, "M", 8, "M"), input_channels=1, batch_norm=True), nn.Linear(72, 5)).eval()


IMAGES = torch.randn(2, 1, 28, 28, generator=torch.Generator().manual_seed(0))


def test_the_module_is_ready_to_export(slim: VGG, saved: Save) -> None:
    path = saved({"state_dict": {key: value.half() for key, value in slim.state_dict().items()}, "epoch": 1})
    loaded = load_model(str(path))
    assert not any(layer.training for layer in loaded.module.modules())
    assert {(p.dtype, p.device.type, p.requires_grad) for p in loaded.module.parameters()} == {
        (torch.float32, "cpu", False)
    }
    assert loaded.checkpoint == CheckpointInfo(
        kind="state dict",
        sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
        bytes=path.stat().st_size,
        notes=("the weights were under the key 'state_dict'", "23 tensors cast from float16 to float32"),
    )


def test_safetensors(slim: VGG, tmp_path: Path) -> None:
    save_file(slim.state_dict(), tmp_path / "slim.safetensors")  # keys come back in the order of their names
    loaded = load_model(tmp_path / "slim.safetensors")
    assert loaded.checkpoint.kind == "safetensors"
    assert torch.equal(loaded.module(IMAGES), slim(IMAGES))


def test_a_truncated_safetensors_file_is_refused(slim: VGG, tmp_path: Path) -> None:
    save_file(slim.state_dict(), tmp_path / "slim.safetensors")
    content = (tmp_path / "slim.safetensors").read_bytes()
    for length in (30, len(content) - 4):
        (tmp_path / "slim.safetensors").write_bytes(content[:length])
        with pytest.raises(CheckpointError, match="truncated"):
            load_model(tmp_path / "slim.safetensors")


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_torchscript(slim: VGG, tmp_path: Path) -> None:
    traced = torch.jit.trace(slim, IMAGES)
    traced.save(str(tmp_path / "slim.pt"))
    loaded = load_model(tmp_path / "slim.pt")
    assert loaded.checkpoint.kind == "torchscript"
    assert torch.equal(loaded.module(IMAGES), slim(IMAGES))
    torch.jit.freeze(traced).save(str(tmp_path / "frozen.pt"))
    with pytest.raises(CheckpointError, match="frozen TorchScript archive"):
        load_model(tmp_path / "frozen.pt")


class Stranger(nn.Module):
    """A user's module of any children; its forward is not in the file."""

    def __init__(self, **children: nn.Module) -> None:
        super().__init__()
        self.note = {"made": "by hand", "epochs": [1, 2]}
        for name, child in children.items():
            self.add_module(name, child)


def _body() -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.Sigmoid(), nn.MaxPool2d(4), nn.Flatten(), nn.Linear(144, 5)).eval()


def test_module_of_one_sequential_runs_without_its_class(saved_by_a_stranger) -> None:
    body = _body()
    loaded = load_model(saved_by_a_stranger(Stranger(network=body)))
    assert torch.equal(loaded.module(IMAGES), body(IMAGES))
    assert loaded.architecture.origin == "module"
    assert "the module's class is not in the checkpoint" in loaded.architecture.assumptions[0]
    assert (loaded.input_size, loaded.checkpoint.kind) == ((28, 28), "module")


@pytest.mark.parametrize("pooled", [False, True])
def test_features_avgpool_classifier_run_in_that_order(saved_by_a_stranger, pooled: bool) -> None:
    children: dict[str, nn.Module] = {"features": make_features((4, "M"), input_channels=1)}
    children |= {"avgpool": nn.AdaptiveAvgPool2d(3)} if pooled else {}
    children |= {"classifier": nn.Sequential(nn.Linear(4 * (9 if pooled else 196), 5), nn.LogSoftmax(dim=1))}
    owner = nn.Sequential(*list(children.values())[:-1], nn.Flatten(), children["classifier"])
    loaded = load_model(saved_by_a_stranger(Stranger(**children)), input_size=(28, 28))
    torch.testing.assert_close(loaded.module(IMAGES), owner(IMAGES), rtol=0, atol=0)


def test_torchs_own_module_needs_no_assumed_order(saved: Save) -> None:
    body = _body()
    loaded = load_model(saved({"model": body, "epoch": 2}))
    assert torch.equal(loaded.module(IMAGES), body(IMAGES))
    assert not any("class" in line for line in loaded.architecture.assumptions)


def test_the_stub_keeps_its_attributes(saved_by_a_stranger) -> None:
    from vgg_models.checkpoint.reading import read_checkpoint

    module = read_checkpoint(saved_by_a_stranger(Stranger(network=_body()))).module
    assert module is not None
    assert module.note == {"made": "by hand", "epochs": [1, 2]}


def test_data_parallel_around_a_whole_module(saved_by_a_stranger) -> None:
    body = _body()
    loaded = load_model(saved_by_a_stranger(nn.DataParallel(Stranger(network=body))))
    assert torch.equal(loaded.module(IMAGES), body(IMAGES))


def test_uncertain_order_falls_back_to_the_weights(saved_by_a_stranger, slim: VGG) -> None:
    whole = Stranger(classifier=slim.classifier, features=slim.features)
    loaded = load_model(saved_by_a_stranger(whole))
    assert loaded.architecture.origin == "recognised"
    assert torch.equal(loaded.module(IMAGES), slim(IMAGES))


def test_where_nothing_is_certain_the_children_are_named(saved_by_a_stranger) -> None:
    whole = Stranger(left=nn.Conv2d(1, 2, 3), right=nn.Conv2d(1, 2, 3), top=nn.Linear(4, 2))
    with pytest.raises(ArchitectureError, match=r"left \(Conv2d\), right \(Conv2d\), top \(Linear\)") as caught:
        load_model(saved_by_a_stranger(whole))
    assert "`model='MODULE:CALLABLE'`" in caught.value.hint


def test_parameters_outside_the_child_make_order_uncertain(saved_by_a_stranger) -> None:
    whole = Stranger(network=_body())
    whole.scale = nn.Parameter(torch.ones(1))
    with pytest.raises(ArchitectureError, match="order of the module's children is unknown"):
        load_model(saved_by_a_stranger(whole))


def test_hooks_are_refused(saved: Save) -> None:
    body = _body()
    body[0]._forward_hooks[0] = nn.ReLU()  # type: ignore[assignment]
    with pytest.raises(CheckpointError, match="the layer 0 carries _forward_hooks"):
        load_model(saved(body))


@pytest.mark.parametrize(
    "attribute",
    ["_forward_pre_hooks_with_kwargs", "_backward_pre_hooks", "_load_state_dict_post_hooks", "_compiled_call_impl"],
)
def test_whatever_a_layer_would_call_is_refused(attribute: str) -> None:
    body = _body()
    body[0].__dict__[attribute] = {0: nn.ReLU()}
    with pytest.raises(CheckpointError, match=f"the layer 0 carries {attribute}"):
        check_module(body)


def test_an_attribute_that_hides_a_method_is_refused(saved: Save) -> None:
    body = _body()
    body[0].__dict__["forward"] = torch.ones(1)
    with pytest.raises(CheckpointError, match="the layer 0 carries forward"):
        load_model(saved(body))


def test_nan_in_a_whole_module_is_refused(saved: Save) -> None:
    body = _body()
    body[0].bias.data[1] = float("nan")
    path = saved(body)
    with pytest.raises(CheckpointError, match=r"NaN or infinite: 0\.bias"):
        load_model(path)
    assert load_model(path, allow_nonfinite=True).num_classes == 5


class NotAClassifier(nn.Module):
    def forward(self, images: Tensor) -> Tensor:
        return images


def test_a_module_that_gives_no_class_scores_is_refused(saved: Save) -> None:
    with pytest.raises(ArchitectureError, match=r"gives \(1, 4, 26, 26\)"):
        load_model(saved(nn.Sequential(nn.Conv2d(1, 4, 3))), input_size=(28, 28))


def test_a_size_that_the_module_can_t_take_is_refused(saved: Save) -> None:
    with pytest.raises(ArchitectureError, match="fails on an image of 1x64x64"):
        load_model(saved(_body()), input_size=(64, 64))


def test_one_number_is_the_side_of_a_square_image(saved: Save) -> None:
    assert load_model(saved(_body()), input_size=29).input_size == (29, 29)


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v3_small", "squeezenet1_1", "shufflenet_v2_x0_5", "googlenet"])
def test_torchvision_head_has_the_checkpoints_classes(saved: Save, name: str) -> None:
    torch.manual_seed(0)
    options = {"init_weights": False} if name == "googlenet" else {}
    owner = import_torchvision().models.get_model(name, weights=None, num_classes=7, **options).eval()
    loaded = load_model(saved(owner.state_dict()), model=f"torchvision:{name}")
    images = torch.randn(2, 3, *loaded.input_size)
    with torch.inference_mode():
        assert torch.equal(loaded.module(images), owner(images))
    assert (loaded.num_classes, loaded.architecture.name) == (7, f"torchvision:{name}")


@pytest.mark.parametrize(
    "name",
    [
        *("efficientnet_b0", "densenet121", "shufflenet_v2_x1_0", "regnet_y_400mf", "convnext_tiny", "vit_b_16"),
        *("inception_v3", "mnasnet0_5", "swin_v2_t", "maxvit_t", "resnext50_32x4d", "alexnet", "vgg16_bn"),
    ],
)
def test_the_number_of_classes_is_read_off_the_last_layer(name: str) -> None:
    models = import_torchvision().models
    device = "cpu" if name.startswith("regnet") else "meta"  # a RegNet can't be made on the meta device
    options = {"init_weights": False} if name == "inception_v3" else {}
    with torch.device(device):
        state = models.get_model(name, weights=None, num_classes=7, **options).state_dict()
    fit(torchvision.empty_torchvision(name, state), state, architecture=name)


def test_pretrained_weights_without_a_network_are_a_clear_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(*args: object, **kwargs: object) -> None:
        raise URLError("Name or service not known")

    monkeypatch.setattr("torch.hub.load_state_dict_from_url", unreachable)
    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", unreachable)
    with pytest.raises(CheckpointError, match="can't be fetched") as caught:
        load_model("torchvision:squeezenet1_1")
    assert caught.value.exit_code == 3


def test_pretrained_weights_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    module = import_torchvision().models.squeezenet1_1()
    monkeypatch.setattr(torchvision._models(), "get_model", lambda name, weights: module)
    loaded = load_model("torchvision:squeezenet1_1")
    assert loaded.checkpoint == CheckpointInfo("torchvision", notes=("SqueezeNet1_1_Weights.IMAGENET1K_V1",))
    assert (loaded.architecture.name, loaded.num_classes) == ("torchvision:squeezenet1_1", 1000)


@pytest.mark.parametrize(
    ("name", "hint"), [("nope", "Available: vgg11"), ("resnt18", "resnet18"), ("torchvision:vgg61", "vgg16")]
)
def test_random_weights_of_a_name_that_nothing_has(name: str, hint: str) -> None:
    with pytest.raises(UsageError, match="unknown architecture") as caught:
        load_model(f"random:{name}")
    assert hint in caught.value.hint


@pytest.mark.parametrize("source", ["random:vgg11", "torchvision:resnet18"])
def test_a_name_and_a_model_are_one_too_many(source: str) -> None:
    with pytest.raises(UsageError, match="names its own architecture"):
        load_model(source, model="vgg11")


def test_the_descriptions_are_frozen_and_checked(slim: VGG) -> None:
    info = Architecture("vgg", "a VGG", "recognised")
    with pytest.raises(FrozenInstanceError):
        info.name = "other"  # type: ignore[misc]
    with pytest.raises(ValueError, match="origin"):
        Architecture("vgg", "a VGG", "guessed")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="checksum"):
        CheckpointInfo("state dict", sha256="00")
    with pytest.raises(ValueError, match="at least 1"):
        LoadedModel(slim, info, CheckpointInfo("random"), 1, (28, 0), 5)


def test_importing_the_package_does_not_import_torch() -> None:
    code = "import sys, vgg_models; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_every_public_name_is_there() -> None:
    assert all(getattr(vgg_models, name) is not None for name in vgg_models.__all__)
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        vgg_models.nonsense  # noqa: B018
