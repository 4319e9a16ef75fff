from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from vgg_models import LoadedModel, load_model
from vgg_models.architectures.head import make_head, paper_head
from vgg_models.architectures.vgg import VGG, VGG_NAMES, build_vgg, make_features
from vgg_models.recognition.vgg import recognise
from vgg_runtime.errors import ArchitectureError

Save = Callable[[object], Path]
WIDTHS = st.integers(1, 6)
CLASSES = st.integers(2, 6)  # a classifier of one class is refused


def _settled(module: nn.Module) -> nn.Module:
    """Weights and BatchNorm statistics away from their starting values, so that a wrong place for one shows."""
    generator = torch.Generator().manual_seed(0)
    for key, tensor in module.state_dict().items():
        if tensor.is_floating_point():
            tensor.copy_(torch.rand(tensor.shape, generator=generator) - (0.0 if "running_var" in key else 0.4))
    return module.eval()


def _same(loaded: LoadedModel, owner: nn.Module) -> None:
    for batch in (1, 2, 5):
        images = torch.randn(batch, loaded.input_channels, *loaded.input_size)
        with torch.inference_mode():
            torch.testing.assert_close(loaded.module(images), owner(images), rtol=0, atol=0)


@pytest.mark.parametrize("name", VGG_NAMES)
@pytest.mark.parametrize("dropout_first", [False, True], ids=["Linear first", "Dropout first"])
def test_the_paper_s_table_is_told_by_keys_and_shapes(name: str, dropout_first: bool) -> None:
    with torch.device("meta"):
        model = build_vgg(name, num_classes=7)
        model.classifier = make_head(paper_head(25088, 7, dropout_first=dropout_first))
        candidates = {candidate.name: candidate for candidate in recognise(model.state_dict(), input_size=None)}
    assert len(candidates) == (2 if "lrn" in name else 1)
    candidate = candidates[name]
    assert (candidate.input_channels, candidate.input_size) == (3, (224, 224))
    assert any("LRN" in line or "response" in line for line in candidate.assumptions) == ("lrn" in name)


@st.composite
def slim_vggs(draw: st.DrawFn) -> tuple[VGG, int]:
    """A random VGG that images of 32x32 fit, and its number of input channels."""
    configuration: list[object] = []
    for _ in range(draw(st.integers(1, 4))):
        configuration += draw(st.lists(st.one_of(WIDTHS, WIDTHS.map(lambda width: (width, 1))), min_size=1, max_size=3))
        configuration.append("M")
    channels, pools = draw(st.sampled_from([1, 3, 4])), configuration.count("M")
    last = configuration[-2]
    width = last[0] if isinstance(last, tuple) else last
    features = make_features(
        tuple(configuration), input_channels=channels, batch_norm=draw(st.booleans()), bias=draw(st.booleans())
    )
    in_features = width * (32 >> pools) ** 2
    single = st.just(nn.Linear(in_features, draw(CLASSES)))
    deep = st.builds(paper_head, st.just(in_features), CLASSES, hidden=WIDTHS, dropout_first=st.booleans()).map(
        make_head
    )
    return VGG(features, draw(st.one_of(single, deep))), channels


@settings(max_examples=25)
@given(slim_vggs())
def test_any_slim_vgg_comes_back_with_the_same_outputs(
    tmp_path_factory: pytest.TempPathFactory, case: tuple[VGG, int]
) -> None:
    owner, channels = case
    path = tmp_path_factory.mktemp("slim") / "slim.pth"
    torch.save(_settled(owner).state_dict(), path)
    loaded = load_model(path, input_size=(32, 32))
    assert loaded.input_channels == channels
    _same(loaded, owner)


@pytest.mark.parametrize("k", [1.0, 2.0])
def test_the_k_of_a_normalization_is_asked_for(saved: Save, k: float) -> None:
    owner = _settled(build_vgg("vgg11-lrn", num_classes=3, input_size=(32, 32)))
    owner.features[2] = nn.LocalResponseNorm(5, k=k)
    path = saved(owner.state_dict())
    with pytest.raises(
        ArchitectureError,
        match=r"`model='vgg11-lrn'`: .* k 2, as in the AlexNet.*\n.*`model='vgg11-lrn-k1'`: .* k 1, PyTorch",
    ):
        load_model(path, input_size=(32, 32))
    loaded = load_model(path, input_size=(32, 32), model="vgg11-lrn-k1" if k == 1 else "vgg11-lrn")
    images = torch.rand(2, 3, 32, 32)
    torch.testing.assert_close(loaded.module(images), owner(images), rtol=0, atol=0)


def test_normalization_in_own_configuration_needs_its_class(saved: Save) -> None:
    owner = VGG(make_features((4, "LRN", "M", 5, "M")), nn.Linear(5 * 8 * 8, 3))
    with pytest.raises(
        ArchitectureError, match=r"`model='MODULE:CALLABLE'`: .* k 2.*\n.*`model='MODULE:CALLABLE'`: .* k 1"
    ):
        load_model(saved(owner.state_dict()), input_size=(32, 32))


def test_the_trained_example_is_recognised() -> None:
    loaded = load_model(Path(__file__).parents[3] / "examples" / "fashion_mnist" / "slim_vgg.pth")
    assert loaded.architecture.origin == "recognised"
    assert (loaded.input_channels, loaded.input_size, loaded.num_classes) == (1, (28, 28), 10)


def test_the_input_size_follows_from_the_first_linear(saved: Save) -> None:
    owner = _settled(VGG(make_features((4, "M", 4, "M", 8, "M"), input_channels=1), nn.Linear(8 * 3 * 3, 5)))
    loaded = load_model(saved(owner.state_dict()))
    assert loaded.input_size == (28, 28)
    assert any("28x28" in line for line in loaded.architecture.assumptions)
    _same(loaded, owner)


def test_features_of_1x1_need_the_size_of_the_images(saved: Save) -> None:
    owner = _settled(VGG(make_features((4, "M") * 5), nn.Linear(4, 10), pooled_size=(1, 1)))
    path = saved(owner.state_dict())
    with pytest.raises(ArchitectureError) as caught:
        load_model(path)
    assert "`preprocess='cifar10'`" in caught.value.message
    assert "global average pooling" in caught.value.message
    for size in ((32, 32), (64, 96)):
        _same(load_model(path, input_size=size), owner)


def test_mismatched_size_means_torchvisions_adaptive_pool(saved: Save) -> None:
    owner = _settled(
        VGG(make_features((4, "M", 4, "M")), make_head(paper_head(4 * 7 * 7, 3, hidden=5)), pooled_size=(7, 7))
    )
    loaded = load_model(saved(owner.state_dict()), input_size=(64, 64))
    assert any("AdaptiveAvgPool2d" in line for line in loaded.architecture.assumptions)
    _same(loaded, owner)


def test_unpadded_convolutions_are_no_vgg_with_pool(saved: Save) -> None:
    features = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Conv2d(4, 5, 3), nn.ReLU(), nn.MaxPool2d(2))
    owner = _settled(VGG(features, nn.Linear(5 * 12 * 12, 3)))
    path = saved(owner.state_dict())
    loaded = load_model(path, input_size=(28, 28))
    assert loaded.architecture.name == "cnn"
    _same(loaded, owner)
    # With pools in the place of ReLUs it would be a net for images of 48x48.
    with pytest.raises(
        ArchitectureError,
        match=r"`input_size=28`: .* ReLU, Conv.*\n.*`model='MODULE:CALLABLE'`: .* MaxPool, Conv.* 48x48",
    ):
        load_model(path)


def test_missing_last_pool_follows_from_the_image_size(saved: Save) -> None:
    owner = _settled(VGG(make_features((4, "M", 4)), nn.Linear(4 * 14 * 14, 3)))
    _same(load_model(saved(owner.state_dict()), input_size=(28, 28)), owner)


def test_a_head_with_batch_norm_and_a_layer_added_by_name(saved: Save) -> None:
    head = nn.Sequential(nn.Dropout(), nn.Linear(4 * 14 * 14, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Linear(6, 5))
    head.add_module("add_linear", nn.Linear(5, 3))
    owner = _settled(VGG(make_features((4, "M")), head))
    _same(load_model(saved(owner.state_dict())), owner)


def test_named_architecture_has_the_checkpoints_head(saved: Save) -> None:
    owner = _settled(build_vgg("vgg11", num_classes=3, input_size=(32, 32)))
    owner.classifier = _settled(nn.Linear(512, 3))
    path = saved({"module." + key: value for key, value in owner.state_dict().items()})
    loaded = load_model(path, model="vgg11", input_size=(32, 32))
    assert (loaded.architecture.name, loaded.architecture.origin) == ("vgg11", "named")
    _same(loaded, owner)
    with pytest.raises(
        ArchitectureError,
        match=r"doesn't fit vgg13: missing are features\.10\.bias, .*; unexpected are features\.11\.bias",
    ):
        load_model(path, model="vgg13", input_size=(32, 32))


@pytest.mark.parametrize(
    "change",
    [
        {"features.9.weight": torch.ones(4, 4, 3, 3)},
        {"attention.weight": torch.ones(4, 4)},
        {"features.1.weight": torch.ones(4)},
        {"classifier.weight": torch.ones(3, 5)},
    ],
    ids=[
        "a gap too wide",
        "a layer elsewhere",
        "a norm without statistics",
        "a head that can't follow",
    ],
)
def test_non_vgg_names_its_layers_and_asks_for_the_class(saved: Save, change: dict[str, torch.Tensor]) -> None:
    owner = VGG(make_features((4, "M")), nn.Linear(4 * 14 * 14, 3))
    with pytest.raises(ArchitectureError, match=r"convolution.*keys features\.0\.weight") as caught:
        load_model(saved(owner.state_dict() | change))
    assert "`model='MODULE:CALLABLE'`" in caught.value.hint
