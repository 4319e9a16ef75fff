from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from vgg_models import LoadedModel, load_model
from vgg_models.recognition.recognise import recognise
from vgg_models.recognition.sequential import recognise as read_row
from vgg_runtime.errors import ArchitectureError

SIDE = 28


def _after_convolution(style: str, pooled: bool) -> list[nn.Module]:
    """Either a ReLU everywhere, and a pool after it where there is one; or pools alone; or a ReLU alone."""
    if style == "strides":
        return [nn.ReLU()]
    return [nn.ReLU()] * (style == "ReLU") + [nn.MaxPool2d(2)] * (pooled or style == "pools alone")


@st.composite
def rows(draw: st.DrawFn) -> nn.Sequential:
    """A plain row of layers for images of 28x28."""
    style, norm = draw(st.sampled_from(["ReLU", "pools alone", "strides"])), draw(st.booleans())
    kernel, padded = draw(st.sampled_from([3, 5])), draw(st.booleans())
    between_linears = draw(st.sampled_from([[], [nn.ReLU()], [nn.ReLU(), nn.Dropout()]]))
    layers: list[nn.Module] = []
    channels = draw(st.sampled_from([1, 3]))
    for pooled in draw(st.lists(st.booleans(), min_size=1, max_size=2)):
        width = draw(st.integers(2, 5))
        stride = 2 if style == "strides" else 1
        layers.append(nn.Conv2d(channels, width, kernel, stride, padding=kernel // 2 if padded else 0))
        layers += [nn.BatchNorm2d(width)] * norm
        layers += _after_convolution(style, pooled)
        channels = width
    layers.append(nn.Flatten())
    features = nn.Sequential(*layers).eval()(torch.ones(1, layers[0].in_channels, SIDE, SIDE)).shape[1]
    for _ in range(draw(st.integers(0, 2))):
        hidden = draw(st.integers(2, 6))
        layers += [nn.Linear(features, hidden), *between_linears]
        features = hidden
    return nn.Sequential(*layers, nn.Linear(features, 3))


@settings(max_examples=40)
@given(rows())
def test_a_row_comes_back_the_same_or_the_choice_is_listed(
    tmp_path_factory: pytest.TempPathFactory, owner: nn.Sequential
) -> None:
    owner.eval()
    for key, tensor in owner.state_dict().items():
        if "running_mean" in key:
            tensor.uniform_(-1, 1)
    path = tmp_path_factory.mktemp("row") / "row.pth"
    torch.save({f"net.{key}": value for key, value in owner.state_dict().items()}, path)
    outcome = _load(path)
    if isinstance(outcome, str):
        assert "more than one way" in outcome
        return
    images = torch.randn(2, outcome.input_channels, SIDE, SIDE)
    torch.testing.assert_close(outcome.module(images), owner(images), rtol=0, atol=0)


def _load(path: Path) -> LoadedModel | str:
    """The model, or why there is none."""
    try:
        return load_model(path, input_size=(SIDE, SIDE))
    except ArchitectureError as error:
        return error.message


def _state(**shapes: tuple[int, ...]) -> dict[str, torch.Tensor]:
    return {f"{path.replace('_', '.')}.weight": torch.empty(shape, device="meta") for path, shape in shapes.items()}


def test_the_size_decides_between_padding_and_none() -> None:
    """A 5x5 convolution and a pool: 16x16 before the Linear are 32x32 padded; 14x14 are 28x28 padded, 32x32 not."""
    (padded,) = read_row(_state(net_0=(4, 3, 5, 5), net_4=(3, 4 * 16 * 16)), input_size=(32, 32))
    assert any("padded" in line for line in padded.assumptions)
    state = _state(net_0=(4, 3, 5, 5), net_4=(3, 4 * 14 * 14))
    assert [candidate.input_size for candidate in read_row(state, input_size=None)] == [(28, 28), (32, 32)]
    (bare,) = read_row(state, input_size=(32, 32))
    assert any("have no padding" in line for line in bare.assumptions)
    with pytest.raises(ArchitectureError, match=r"`input_size=28`: .*\n.*`input_size=32`: "):
        recognise(state, input_size=None)
    assert recognise(state, input_size=None, fallback_input_size=(32, 32)).input_size == (32, 32)


def test_where_the_gap_is_a_pool_or_a_relu_the_size_tells() -> None:
    # Index 1 is a ReLU where 28x28 stay 28x28, and a pool where they become 14x14.
    for side, layer in ((28, "ReLU"), (14, "MaxPool")):
        state = _state(net_0=(4, 1, 3, 3), net_2=(4, 4, 3, 3), net_5=(3, 4 * (side if layer == "ReLU" else 7) ** 2))
        candidate, *others = read_row(state, input_size=(28, 28))
        assert f"Conv 1→4 3x3, {layer}, Conv" in candidate.reasons[0]
        assert len(others) == (layer == "MaxPool")


def _strided(kernel: int, padding: int) -> nn.Sequential:
    return nn.Sequential(
        *(nn.Conv2d(3, 16, kernel, 2, padding), nn.ReLU(), nn.Conv2d(16, 32, kernel, 2, padding), nn.ReLU()),
        *(nn.Flatten(), nn.Linear(2048, 64), nn.ReLU(), nn.Linear(64, 5)),
    )


@pytest.mark.parametrize("stated", [None, (32, 32)])
@pytest.mark.parametrize(("kernel", "padding"), [(3, 1), (4, 1), (5, 2)])
def test_stride_2_convolutions_are_refused_as_ambiguous(
    kernel: int, padding: int, stated: tuple[int, int] | None
) -> None:
    """The keys are those of convolutions with a max pool each and no ReLU; the ReLU of the head tells nothing."""
    owner = _strided(kernel, padding).eval()
    pools, strides = read_row(owner.state_dict(), input_size=stated)
    assert any("no activation follows a convolution" in line for line in pools.assumptions)
    assert not any("no activation" in line for line in strides.assumptions)
    rebuilt = strides.build().eval()
    rebuilt.load_state_dict(owner.state_dict())
    images = torch.randn(2, 3, 32, 32)
    assert torch.equal(rebuilt(images), owner(images))
    with pytest.raises(ArchitectureError, match=r"`model='MODULE:CALLABLE'`: .* stride 2, ReLU"):
        recognise(owner.state_dict(), input_size=stated)


def test_strides_are_read_off_no_row_with_a_relu_and_a_pool() -> None:
    """The usual form keeps its one candidate."""
    state = _state(net_0=(4, 1, 3, 3), net_3=(4, 4, 3, 3), net_7=(3, 4 * 49))
    (candidate,) = read_row(state, input_size=(28, 28))
    assert "stride 1" in candidate.assumptions[0]


def test_gap_between_sequentials_follows_from_the_size() -> None:
    state = _state(body_0=(4, 1, 3, 3), body_3=(8, 4, 3, 3), head_0=(3, 8 * 49))
    candidate = recognise(state, input_size=(28, 28))
    assert "ReLU, MaxPool, Flatten, Linear" in candidate.reasons[0]


def test_no_common_size_is_a_question_that_names_those_that_fit() -> None:
    with pytest.raises(ArchitectureError, match=r"images of 41 to 41 pixels|images of 40 to 41 pixels"):
        recognise(_state(net_0=(4, 1, 3, 3), net_4=(3, 4 * 20 * 20)), input_size=None)


@pytest.mark.parametrize(
    ("numbers", "given", "channels", "size"),
    [(784, None, 1, (28, 28)), (3072, None, 3, (32, 32)), (3072, (16, 16), 12, (16, 16)), (600, (20, 30), 1, (20, 30))],
)
def test_fully_connected_width_gives_the_image_size(
    numbers: int, given: tuple[int, int] | None, channels: int, size: tuple[int, int]
) -> None:
    candidate = recognise(_state(fc_1=(5, numbers), fc_4=(3, 5)), input_size=given)
    assert (candidate.name, candidate.input_channels, candidate.input_size) == ("mlp", channels, size)


@pytest.mark.parametrize("given", [None, (28, 28)])
def test_numbers_that_are_no_image_are_a_question(given: tuple[int, int] | None) -> None:
    with pytest.raises(ArchitectureError, match="13 numbers are not a square image"):
        recognise(_state(fc_0=(5, 13), fc_2=(3, 5)), input_size=given)


@pytest.mark.parametrize(
    "shapes",
    [
        {"net_0": (4, 1, 3, 3), "net_9": (3, 4 * 28 * 28)},
        {"net_0": (4, 1, 3, 3), "net_2": (4, 5, 3, 3), "net_5": (3, 4 * 28 * 28)},
        {"net_0": (4, 1, 3, 3), "net_3": (3, 4 * 28 * 28 + 1)},
        {"one_0": (5, 784), "two_0": (3, 5)},
        {"net_3": (5, 784), "net_5": (3, 5)},
        {"net_0": (5, 784), "net_4": (3, 5)},
        {"net_1": (4, 1, 3, 3), "net_4": (3, 4 * 28 * 28)},
        {"net_0": (4, 1, 3, 3)},
    ],
    ids=[
        "a gap too wide",
        "channels that don't meet",
        "a width that is no feature map",
        "Linear layers in two places",
        "too much before the first",
        "a gap without a word",
        "something before the first convolution",
        "no Linear",
    ],
)
def test_what_the_grammar_has_no_words_for_is_not_read(shapes: dict[str, tuple[int, ...]]) -> None:
    assert read_row(_state(**shapes), input_size=(28, 28)) == []
