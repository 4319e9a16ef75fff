"""Sequentials inside Sequentials, and rows of them as attributes: what ends a block leaves no key."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from lesson_networks import settled
from torch import Tensor, nn

from vgg_models import load_model
from vgg_models.recognition.branches import RUN_IN_ORDER
from vgg_models.recognition.layer_sequences import enumerate_sequences
from vgg_models.recognition.recognise import recognise
from vgg_models.recognition.saved_layers import saved_layers
from vgg_models.recognition.sequential import recognise as read_row
from vgg_runtime.errors import ArchitectureError

Save = Callable[[object], Path]


class InOrder(nn.Module):
    """Attributes that run in their order, flattened before the last: a Linear, or a Sequential with its own Flatten."""

    def __init__(self, **parts: nn.Module) -> None:
        super().__init__()
        for name, part in parts.items():
            setattr(self, name, part)

    def forward(self, images: Tensor) -> Tensor:
        *features, head = self.children()
        for part in features:
            images = part(images)
        return head(images.flatten(1) if isinstance(head, nn.Linear) else images)


def block(
    channels: int, width: int, convolutions: int = 1, *, kernel: int = 3, padded: bool = True, norm: bool = True
) -> list[nn.Module]:
    layers: list[nn.Module] = []
    for _ in range(convolutions):
        layers.append(nn.Conv2d(channels, width, kernel, padding=kernel // 2 if padded else 0))
        layers += [nn.BatchNorm2d(width)] * norm + [nn.ReLU()]
        channels = width
    return layers


def pooled(*layers: nn.Module) -> nn.Sequential:
    return nn.Sequential(*layers, nn.MaxPool2d(2))


def morvan() -> nn.Module:
    parts = [pooled(*block(channels, width, kernel=5, norm=False)) for channels, width in ((1, 16), (16, 32))]
    return InOrder(conv1=parts[0], conv2=parts[1], out=nn.Linear(32 * 7 * 7, 10))


def yunjey() -> nn.Module:
    parts = [pooled(*block(channels, width, kernel=5)) for channels, width in ((1, 16), (16, 32))]
    return InOrder(layer1=parts[0], layer2=parts[1], fc=nn.Linear(32 * 7 * 7, 10))


def tiny_vgg(channels: int = 3, side: int = 13, *, padded: bool = False) -> nn.Module:
    return InOrder(
        conv_block_1=pooled(*block(channels, 10, 2, padded=padded, norm=False)),
        conv_block_2=pooled(*block(10, 10, 2, padded=padded, norm=False)),
        classifier=nn.Sequential(nn.Flatten(), nn.Linear(10 * side * side, 3)),
    )


def svhn() -> nn.Module:
    blocks = [nn.Sequential(*pooled(*block(*widths, 2)), nn.Dropout(0.2)) for widths in ((3, 8), (8, 16), (16, 32))]
    head = nn.Sequential(nn.Flatten(), nn.Linear(32 * 16, 64), nn.ReLU(), nn.Dropout(), nn.Linear(64, 10))
    return InOrder(features=nn.Sequential(*blocks), classifier=head)


def pools_between_blocks() -> nn.Module:
    features = nn.Sequential(
        *(nn.Sequential(*block(3, 8)), nn.Sequential(*block(8, 8)), nn.MaxPool2d(2)),
        *(nn.Sequential(*block(8, 16)), nn.Sequential(*block(16, 16)), nn.MaxPool2d(2)),
    )
    return InOrder(features=features, fc=nn.Linear(16 * 64, 10))


def no_pools() -> nn.Module:
    return InOrder(layer1=nn.Sequential(*block(1, 4)), layer2=nn.Sequential(*block(4, 8)), fc=nn.Linear(8 * 784, 10))


def last_without_pool() -> nn.Module:
    parts = {"layer1": pooled(*block(3, 8)), "layer2": pooled(*block(8, 16)), "layer3": nn.Sequential(*block(16, 8, 2))}
    return InOrder(**parts, fc=nn.Linear(8 * 64, 10))


def one_sequential() -> nn.Module:
    return nn.Sequential(pooled(*block(3, 4)), pooled(*block(4, 8)), nn.Flatten(), nn.Linear(8 * 64, 10))


NETWORKS: dict[str, tuple[Callable[[], nn.Module], tuple[int, int, int], bool]] = {
    # name: the network, its images, and whether their size has to be given
    "MorvanZhou's": (morvan, (1, 28, 28), False),
    "yunjey's": (yunjey, (1, 28, 28), False),
    "TinyVGG": (tiny_vgg, (3, 64, 64), False),
    "TinyVGG, grey": (lambda: tiny_vgg(1, 7, padded=True), (1, 28, 28), False),
    "SVHN": (svhn, (3, 32, 32), True),
    "pools between blocks": (pools_between_blocks, (3, 32, 32), True),
    "no pools": (no_pools, (1, 28, 28), True),
    "no pool after the last": (last_without_pool, (3, 32, 32), True),
    "one Sequential": (one_sequential, (3, 32, 32), False),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_blocks_come_back_with_the_same_outputs(saved: Save, name: str) -> None:
    make, shape, size_needed = NETWORKS[name]
    owner = settled(make())
    path = saved(owner.state_dict())
    loaded = load_model(path, input_size=shape[1:] if size_needed else None)
    assert (loaded.input_channels, *loaded.input_size) == shape
    images = torch.rand(3, *shape)
    with torch.inference_mode():
        torch.testing.assert_close(loaded.module(images), owner(images))
    assert RUN_IN_ORDER in loaded.architecture.assumptions


@pytest.mark.parametrize("name", [name for name, (_, _, size_needed) in NETWORKS.items() if size_needed])
def test_a_size_that_is_open_is_asked_for(name: str) -> None:
    make, (_, side, _), _ = NETWORKS[name]
    with pytest.raises(ArchitectureError, match=f"`input_size={side}`: "):
        recognise(make().state_dict(), input_size=None)


def _attributes(*parts: tuple[int, int, int], head: int) -> dict[str, Tensor]:
    """Keys of Sequentials of one convolution each: (in, out, kernel) of the parts."""
    state = {
        f"part{number}.0.weight": torch.empty(width, channels, kernel, kernel)
        for number, (channels, width, kernel) in enumerate(parts)
    }
    return state | {"fc.weight": torch.empty(10, head)}


def test_pools_after_some_of_the_blocks_alike_are_asked_about() -> None:
    """16x16 before the Linear come from 64x64 and two pools, or from 32x32 and one of them."""
    state = _attributes((3, 4, 3), (4, 8, 3), head=8 * 256)
    with pytest.raises(ArchitectureError, match=r"`input_size=64`: .*\n.*images of 32x32 fit if some of the blocks"):
        recognise(state, input_size=None)
    assert recognise(state, input_size=(64, 64)).input_size == (64, 64)
    with pytest.raises(ArchitectureError, match="can't be read off the keys") as caught:
        recognise(state, input_size=(32, 32))
    assert "`model='MODULE:CALLABLE'`" in caught.value.hint


def test_a_part_that_a_sum_may_skip_is_not_read() -> None:
    """The last two keep width and size, as a residual block would; its convolutions are of another kind."""
    state = _attributes((1, 8, 3), head=8 * 196)
    state |= {f"res.{index}.weight": torch.empty(8, 8, 3, 3) for index in (0, 2)}
    state["fc.weight"] = state.pop("fc.weight")  # the head comes last
    with pytest.raises(ArchitectureError, match="leave res with the width and size that they came with"):
        recognise(state, input_size=(28, 28))


def test_several_parts_that_a_sum_may_skip_are_not_read() -> None:
    state = _attributes((1, 8, 3), (8, 4, 3), (4, 8, 3), head=8 * 784)
    with pytest.raises(ArchitectureError, match="leave part1 and part2 with the width"):
        recognise(state, input_size=(28, 28))


@pytest.mark.parametrize("size", [None, (32, 32), (256, 256)])
def test_a_resnet9_is_not_read_as_a_row(size: tuple[int, int] | None) -> None:
    """Its widths follow on one another; the sums over res1 and res2 leave no key."""
    pairs = {name: nn.Sequential(*(nn.Sequential(*block(8, 8)) for _ in range(2))) for name in ("res1", "res2")}
    network = InOrder(
        conv1=nn.Sequential(*block(3, 4)),
        conv2=pooled(*block(4, 8)),
        res1=pairs["res1"],
        conv3=pooled(*block(8, 8)),
        conv4=pooled(*block(8, 8)),
        res2=pairs["res2"],
        classifier=nn.Sequential(nn.MaxPool2d(4), nn.Flatten(), nn.Linear(8, 10)),
    )
    with pytest.raises(ArchitectureError, match=r"more than one way|can't be read off"):
        recognise(network.state_dict(), input_size=size)


def test_kernels_of_even_size_may_have_stride_2() -> None:
    state = _attributes((3, 8, 4), (8, 16, 4), head=16 * 64)
    with pytest.raises(ArchitectureError, match=r"Conv 3→8 4x4, ReLU, MaxPool.*\n.*Conv 3→8 4x4 stride 2, ReLU, Conv"):
        recognise(state, input_size=(32, 32))


def test_whether_a_relu_lies_between_fc1_and_fc2_is_asked() -> None:
    """Lessons have both, and neither leaves a key."""
    state = _attributes((1, 4, 5), (4, 8, 5), head=8 * 49)
    state = {key.replace("fc.", "fc1."): tensor for key, tensor in state.items()} | {"fc2.weight": torch.empty(3, 10)}
    with pytest.raises(ArchitectureError, match=r"Linear 392→10, ReLU, Linear 10→3\)\n.*Linear 392→10, Linear 10→3"):
        recognise(state, input_size=None)


def test_global_pooling_asks_for_the_size_once() -> None:
    state = _attributes((3, 4, 3), (4, 8, 3), head=8)
    with pytest.raises(ArchitectureError, match="global average pooling takes images of any size") as caught:
        recognise(state, input_size=None)
    assert caught.value.message.count("global average pooling") == 1
    with pytest.raises(ArchitectureError, match=r"ReLU, GlobalPool(.|\n)*ReLU, MaxPool, GlobalPool"):
        recognise(state, input_size=(32, 32))


def test_blocks_of_sorted_keys_run_by_their_numbers() -> None:
    """Safetensors puts 10 before 2, which equal widths would not show."""
    with torch.device("meta"):
        blocks = nn.Sequential(*(nn.Sequential(nn.Conv2d(4, 4, 1), nn.ReLU()) for _ in range(12)))
    paths = [layer.path for layer in saved_layers(dict(sorted(blocks.state_dict().items())))]
    assert paths == [f"{number}.0" for number in range(12)]


def test_twenty_blocks_alike_make_few_candidates() -> None:
    with torch.device("meta"):
        blocks = nn.Sequential(*(nn.Sequential(*block(4, 4)) for _ in range(20)), nn.Flatten(), nn.Linear(256, 10))
    assert 0 < len(list(enumerate_sequences(saved_layers(blocks.state_dict())))) < 20


def test_more_kinds_of_blocks_than_can_be_tried_are_not_read() -> None:
    with torch.device("meta"):
        blocks = [nn.Sequential(*block(4, 4, number)) for number in range(1, 12)]
        network = nn.Sequential(*blocks, nn.Flatten(), nn.Linear(256, 10))
    assert list(enumerate_sequences(saved_layers(network.state_dict()))) == []


def test_what_a_block_begins_with_is_told_by_its_index() -> None:
    """The ReLU is in the block, whose own path is not free for it."""
    inner = nn.Sequential(nn.ReLU(), nn.Conv2d(4, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2))
    owner = settled(nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), inner, nn.Flatten(), nn.Linear(8 * 196, 10)))
    candidates = read_row(owner.state_dict(), input_size=(28, 28))
    (candidate,) = (each for each in candidates if "Conv 1→4 3x3, ReLU, Conv 4→8 3x3, ReLU, MaxPool" in each.reasons[0])
    rebuilt = candidate.build().eval()
    assert not isinstance(rebuilt.get_submodule("1"), nn.ReLU)
    rebuilt.load_state_dict(owner.state_dict())
    images = torch.rand(2, 1, 28, 28)
    torch.testing.assert_close(rebuilt(images), owner(images))


def test_a_layer_inside_a_layer_is_not_read() -> None:
    state = _attributes((1, 4, 3), head=4 * 784) | {"part0.0.0.weight": torch.empty(4, 4, 3, 3)}
    state["fc.weight"] = state.pop("fc.weight")
    assert read_row(state, input_size=(28, 28)) == []


class BasicBlock(nn.Module):
    """As in the CIFAR ResNets."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(channels, width, 3, padding=1), nn.BatchNorm2d(width)
        self.conv2, self.bn2 = nn.Conv2d(width, width, 3, padding=1), nn.BatchNorm2d(width)
        self.shortcut = nn.Sequential()


class Bodied(nn.Module):
    """A residual block whose convolutions are one Sequential."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.body = nn.Sequential(*block(width, width, 2))


OTHERS: dict[str, Callable[[], nn.Module]] = {
    "a CIFAR ResNet": lambda: InOrder(
        stem=nn.Sequential(*block(3, 8)),
        layer1=nn.Sequential(BasicBlock(8, 8), BasicBlock(8, 8)),
        linear=nn.Linear(8, 10),
    ),
    "residual blocks with a body": lambda: InOrder(
        stem=pooled(*block(3, 8)), blocks=nn.Sequential(Bodied(8), Bodied(8)), linear=nn.Linear(8 * 256, 10)
    ),
    "convolutions as attributes": lambda: InOrder(
        conv1=nn.Conv2d(3, 4, 3, padding=1), conv2=nn.Conv2d(4, 8, 3, padding=1), fc=nn.Linear(8 * 64, 10)
    ),
    "two branches": lambda: InOrder(left=pooled(*block(3, 8)), right=pooled(*block(3, 8)), fc=nn.Linear(16 * 256, 10)),
    "branches of one stem": lambda: InOrder(
        stem=pooled(*block(3, 8)),
        left=nn.Sequential(*block(8, 4)),
        right=nn.Sequential(*block(8, 4)),
        fc=nn.Linear(8 * 256, 10),
    ),
    "two heads": lambda: InOrder(
        features=nn.Sequential(pooled(*block(3, 8)), pooled(*block(8, 8))),
        age=nn.Linear(8 * 64, 10),
        gender=nn.Linear(8 * 64, 2),
    ),
    "an autoencoder": lambda: InOrder(
        encoder=nn.Sequential(pooled(*block(3, 8)), pooled(*block(8, 4))),
        decoder=nn.Sequential(nn.ConvTranspose2d(4, 8, 2, 2), nn.ReLU(), nn.ConvTranspose2d(8, 3, 2, 2)),
    ),
}


@pytest.mark.parametrize("name", OTHERS)
def test_what_is_no_row_of_blocks_is_not_read(name: str) -> None:
    assert read_row(OTHERS[name]().state_dict(), input_size=(32, 32)) == []
