"""What people train from the lessons: each network as its owner wrote it.

Every class here stands for code that is not at hand when its checkpoint is read, but where ``--model
lesson_networks:NAME`` names it.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

__all__ = [
    "MLP",
    "Attributes",
    "CifarLeNet",
    "CifarVGG",
    "FlowerVGG",
    "FullyConnected",
    "LeNet",
    "MnistCNN",
    "NamedFullyConnected",
    "OneSequential",
    "PaperVGG",
    "Residual",
    "ResidualNet",
    "WideVGG",
    "deep_batch_norm",
    "quick_features",
    "relu_head",
    "settled",
    "vgg_layers",
]

# The paper's table: the width of a 3x3 convolution, "M" a max pool, "LRN" a response norm, "1x1" of the next width.
CONFIGURATIONS: dict[str, tuple[int | str, ...]] = {
    "A": (64, "M", 128, "M", 256, 256, "M", 512, 512, "M", 512, 512, "M"),
    "A-LRN": (64, "LRN", "M", 128, "M", 256, 256, "M", 512, 512, "M", 512, 512, "M"),
    "B": (64, 64, "M", 128, 128, "M", 256, 256, "M", 512, 512, "M", 512, 512, "M"),
    "C": (64, 64, "M", 128, 128, "M", *(256, 256, "1x1", 256, "M"), *(512, 512, "1x1", 512, "M") * 2),
    "D": (64, 64, "M", 128, 128, "M", *(256,) * 3, "M", *(512,) * 3, "M", *(512,) * 3, "M"),
    "E": (64, 64, "M", 128, 128, "M", *(256,) * 4, "M", *(512,) * 4, "M", *(512,) * 4, "M"),
}


def settled(module: nn.Module) -> nn.Module:
    """Seeded weights that keep signals at a useful size, and BatchNorm statistics that are not the identity."""
    generator = torch.Generator().manual_seed(0)
    for layer in module.modules():
        if isinstance(layer, (nn.Conv2d, nn.Linear)):
            layer.weight.data.normal_(0, (2 / layer.weight[0].numel()) ** 0.5, generator=generator)  # He et al., 2015
            if layer.bias is not None:
                layer.bias.data.normal_(0, 0.1, generator=generator)
        elif isinstance(layer, nn.BatchNorm2d):
            for tensor in (layer.bias.data, layer.running_mean):
                tensor.uniform_(-0.5, 0.5, generator=generator)
            for tensor in (layer.weight.data, layer.running_var):
                tensor.uniform_(0.5, 2, generator=generator)
            layer.num_batches_tracked.zero_()
    return module.eval()


class OneSequential(nn.Module):
    """One attribute that holds everything."""

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.model = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        return self.model(x)


# The paper's VGGs, and those of the flowers ---------------------------------------------------------------------------


def vgg_layers(configuration: tuple[int | str, ...], *, batch_norm: bool = False) -> list[nn.Module]:
    layers: list[nn.Module] = []
    channels, kernel = 3, 3
    for entry in configuration:
        if entry == "M":
            layers.append(nn.MaxPool2d(2, 2))
        elif entry == "LRN":
            layers.append(nn.LocalResponseNorm(5, k=2))
        elif isinstance(entry, str):
            kernel = 1
        else:
            norm = [nn.BatchNorm2d(entry)] if batch_norm else []
            layers += [nn.Conv2d(channels, entry, kernel, padding=kernel // 2), *norm, nn.ReLU(inplace=True)]
            channels, kernel = entry, 3
    return layers


class PaperVGG(nn.Module):
    def __init__(self, configuration: str, classes: int, side: int = 224) -> None:
        super().__init__()
        self.features = nn.Sequential(*vgg_layers(CONFIGURATIONS[configuration]))
        self.classifier = nn.Sequential(
            *(nn.Dropout(0.5), nn.Linear(512 * (side // 32) ** 2, 4096), nn.ReLU(inplace=True)),
            *(nn.Dropout(0.5), nn.Linear(4096, 4096), nn.ReLU(inplace=True)),
            *(nn.Dropout(0.5), nn.Linear(4096, classes)),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(torch.flatten(self.features(x), start_dim=1))


class FlowerVGG(nn.Module):
    def __init__(self, configuration: str, classes: int, side: int = 224) -> None:
        super().__init__()
        self.features = nn.Sequential(*vgg_layers(CONFIGURATIONS[configuration]))
        self.classifier = nn.Sequential(
            *(nn.Linear(512 * (side // 32) ** 2, 4096), nn.ReLU(True), nn.Dropout(p=0.5)),
            *(nn.Linear(4096, 4096), nn.ReLU(True), nn.Dropout(p=0.5)),
            nn.Linear(4096, classes),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(torch.flatten(self.features(x), start_dim=1))


# For CIFAR-10 ---------------------------------------------------------------------------------------------------------


def quick_features() -> list[nn.Module]:
    layers: list[nn.Module] = []
    for channels, width in ((3, 32), (32, 32), (32, 64)):
        layers += [nn.Conv2d(channels, width, 5, padding=2), nn.MaxPool2d(2)]
    return [*layers, nn.Flatten()]


def relu_head(*, last: bool) -> list[nn.Module]:
    layers: list[nn.Module] = []
    for width, out in ((1024, 256), (256, 64), (64, 10)):
        layers += [nn.Linear(width, out), nn.ReLU(), nn.Dropout(0.4)]
    return layers if last else layers[:-2]


class Attributes(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.maxpool1 = nn.Conv2d(3, 32, 5, padding=2), nn.MaxPool2d(2)
        self.conv2, self.maxpool2 = nn.Conv2d(32, 32, 5, padding=2), nn.MaxPool2d(2)
        self.conv3, self.maxpool3 = nn.Conv2d(32, 64, 5, padding=2), nn.MaxPool2d(2)
        self.flatten = nn.Flatten()
        self.linear1, self.linear2 = nn.Linear(1024, 64), nn.Linear(64, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.maxpool2(self.conv2(self.maxpool1(self.conv1(x))))
        return self.linear2(self.linear1(self.flatten(self.maxpool3(self.conv3(x)))))


class WideVGG(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        widths = (96, 96, "M", 128, 128, "M", *(256,) * 3, "M", *(512,) * 3, "M", *(512,) * 3, "M")
        self.features = nn.Sequential(*vgg_layers(widths, batch_norm=True), nn.AvgPool2d(1, 1))
        self.dense = nn.Sequential(
            *(nn.Linear(512, 4096), nn.ReLU(), nn.Dropout(0.4)), *(nn.Linear(4096, 4096), nn.ReLU(), nn.Dropout(0.4))
        )
        self.classifier = nn.Linear(4096, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.features(x)
        return self.classifier(self.dense(x.view(x.size(0), -1)))


def deep_batch_norm(kernel: int = 3, padding: int = 1) -> list[nn.Module]:
    layers: list[nn.Module] = []
    for channels, width in ((3, 64), (64, 128), (128, 256), (256, 512)):
        layers += [nn.Conv2d(channels, width, kernel, padding=padding), nn.BatchNorm2d(width)]
        layers += [nn.Conv2d(width, width, kernel, padding=padding), nn.BatchNorm2d(width), nn.ReLU(), nn.MaxPool2d(2)]
    return [*layers, nn.Flatten(), nn.Linear(2048, 256), nn.Linear(256, 64), nn.Linear(64, 10)]


class Residual(nn.Module):
    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.left = nn.Sequential(
            *(nn.Conv2d(channels, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU()),
            *(nn.Conv2d(width, width, 3, padding=1, bias=False), nn.BatchNorm2d(width)),
        )
        self.shortcut = nn.Sequential(nn.Conv2d(channels, width, 1, bias=False), nn.BatchNorm2d(width))

    def forward(self, x: Tensor) -> Tensor:
        return functional.relu(self.left(x) + self.shortcut(x))


class ResidualNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.block1, self.block2 = Residual(3, 64), Residual(64, 128)
        self.block3, self.block4 = Residual(128, 256), Residual(256, 512)
        self.pool = nn.MaxPool2d(2)
        self.classifier = nn.Sequential(
            *(nn.Flatten(), nn.Dropout(0.4)), *(nn.Linear(2048, 256), nn.Linear(256, 64), nn.Linear(64, 10))
        )

    def forward(self, x: Tensor) -> Tensor:
        for block in (self.block1, self.block2, self.block3, self.block4):
            x = self.pool(block(x))
        return self.classifier(x)


class CifarLeNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.pool, self.conv2 = nn.Conv2d(3, 6, 5), nn.MaxPool2d(2, 2), nn.Conv2d(6, 16, 5)
        self.fc1, self.fc2, self.fc3 = nn.Linear(400, 120), nn.Linear(120, 84), nn.Linear(84, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.pool(functional.relu(self.conv2(self.pool(functional.relu(self.conv1(x))))))
        return self.fc3(functional.relu(self.fc2(functional.relu(self.fc1(torch.flatten(x, 1))))))


class CifarVGG(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            *vgg_layers(CONFIGURATIONS["A"], batch_norm=True), nn.AvgPool2d(kernel_size=1, stride=1)
        )
        self.classifier = nn.Linear(512, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.features(x)
        return self.classifier(x.view(x.size(0), -1))


# For MNIST ------------------------------------------------------------------------------------------------------------


class FullyConnected(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.network = nn.Sequential(
            *(nn.Linear(784, 8), nn.ReLU(), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 10), nn.LogSoftmax(dim=1))
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.network(x.view(-1, 784))


class NamedFullyConnected(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc1, self.fc2, self.fc3 = nn.Linear(784, 8), nn.Linear(8, 8), nn.Linear(8, 10)

    def forward(self, x: Tensor) -> Tensor:
        return functional.log_softmax(
            self.fc3(functional.relu(self.fc2(functional.relu(self.fc1(x.flatten(1)))))), dim=1
        )


class MnistCNN(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.n_feature = 6
        self.conv1, self.conv2 = nn.Conv2d(1, 6, 5), nn.Conv2d(6, 6, 5)
        self.fc1, self.fc2 = nn.Linear(96, 50), nn.Linear(50, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.max_pool2d(functional.relu(self.conv1(x)), 2)
        x = functional.max_pool2d(functional.relu(self.conv2(x)), 2)
        x = functional.relu(self.fc1(x.view(-1, self.n_feature * 4 * 4)))
        return functional.log_softmax(self.fc2(x), dim=1)


class LeNet(nn.Module):
    """With average pooling; its layers in two Sequentials, in one, or as attributes."""

    def __init__(self, form: str = "two Sequentials") -> None:
        super().__init__()
        features = [nn.Conv2d(1, 6, 5), nn.ReLU(), nn.AvgPool2d(2), nn.Conv2d(6, 16, 5), nn.ReLU(), nn.AvgPool2d(2)]
        head = [nn.Linear(256, 120), nn.ReLU(), nn.Linear(120, 84), nn.ReLU(), nn.Linear(84, 10)]
        self.row = [*features, nn.Flatten(), *head]  # a list, so that it makes no keys
        if form == "two Sequentials":
            self.conv, self.fc = nn.Sequential(*features), nn.Sequential(*head)
        elif form == "one Sequential":
            self.net = nn.Sequential(*self.row)
        else:
            self.c1, self.c2, self.f1, self.f2, self.f3 = features[0], features[3], head[0], head[2], head[4]

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.row:
            x = layer(x)
        return x


class MLP(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.flatten = nn.Flatten()
        self.layers = nn.Sequential(
            *(nn.Linear(784, 512), nn.ReLU(), nn.Dropout(0.2), nn.Linear(512, 512), nn.ReLU(), nn.Dropout(0.2)),
            nn.Linear(512, 10),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(self.flatten(x))
