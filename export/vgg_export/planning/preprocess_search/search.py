"""``--preprocess find``: the preprocessing of the training, found by accuracy on labelled images."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from vgg_bench.images import classes_from_folders, evaluation_sample_count
from vgg_export.eager import eager_function, run_batch
from vgg_export.planning.image_split import ImageSelection
from vgg_export.planning.preprocess_search.candidates import (
    Candidate,
    Geometry,
    candidates,
    cropped,
    own_statistics,
    squashed,
)
from vgg_export.planning.preprocess_search.ranking import PreprocessingSearch, rank_answers
from vgg_export.progress import OnStep
from vgg_runtime.errors import UsageError
from vgg_runtime.imaging.decode import read_image
from vgg_runtime.imaging.folders import relative_name
from vgg_runtime.imaging.preprocessing import Channels, Preprocessing

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from vgg_models import LoadedModel

__all__ = ["SearchImages", "search_preprocessing", "split_labelled"]

# From this many samples on, half of them are held out from the search, so that accuracy is measured on images that did
# not select the preprocessing; fewer than HELD_OUT would be too few for that.
ENOUGH_TO_HALVE, HELD_OUT = 200, 100

# Images per batch if the batch size is not fixed.
BATCH = 32


@dataclass(frozen=True)
class SearchImages:
    """Labelled images to search with, and those to verify the export on.

    Attributes:
        search: images to search with, balanced over the classes.
        rest: the other samples, or all of them if too few would be left.
        truth: class of each image of ``search``.
        labels: one name per class.
    """

    search: tuple[Path, ...]
    rest: ImageSelection
    truth: tuple[int, ...]
    labels: tuple[str, ...]

    @property
    def held_out(self) -> bool:
        return set(self.search).isdisjoint(self.rest.files)


def split_labelled(selection: ImageSelection | None, labels: Sequence[str] | None, *, macs: int) -> SearchImages:
    """Split the samples into those for the search and those for verification.

    Args:
        macs: multiply-accumulates of the network for one image, which limit the number of images in the search.

    Raises:
        UsageError: there are no samples or no labels, or the folders of the samples are not named after labels.
    """
    if selection is None or labels is None:
        missing = "`samples`" if selection is None else "`labels`"
        raise UsageError(
            f"`preprocess='find'` needs labelled samples; {missing} is missing.",
            hint="Give `samples=DIR` with one folder of images per class, and `labels=FILE` with the same names.",
        )
    halves: tuple[list[Path], list[Path]] = ([], [])
    counts: Counter[Path] = Counter()
    for file in selection.files:
        halves[counts[file.parent] % 2].append(file)
        counts[file.parent] += 1
    search = tuple(halves[0] if len(selection.files) >= ENOUGH_TO_HALVE else selection.files)[
        : evaluation_sample_count(macs)
    ]
    searched = set(search)
    others = tuple(file for file in selection.files if file not in searched)
    rest = ImageSelection(selection.folder, others, selection.fallback) if len(others) >= HELD_OUT else selection
    return SearchImages(search, rest, _classes(search, selection.folder, labels), tuple(labels))


def search_preprocessing(
    loaded: LoadedModel, images: SearchImages, *, batch: int | None, on_step: OnStep
) -> PreprocessingSearch:
    """Run the eager network on the images for each candidate, and rank the candidates by accuracy.

    Args:
        batch: the fixed batch size of the network, None if it takes any.
        on_step: called with a line of text for each candidate.

    Raises:
        ImageError: an image is unreadable.
        PreprocessingError: images cannot be preprocessed to that many channels.
        ArchitectureError: the network fails on a batch.
    """
    on_step("reading the samples")
    pixels = _Pixels.read(images.search, loaded.input_size, loaded.input_channels)
    own = own_statistics(pixels.by_geometry[squashed(loaded.input_size)])
    distinct = _merged(candidates(loaded.input_size, loaded.input_channels, own, distorted=pixels.distorted), pixels)
    run = eager_function(loaded.module)
    answers = []
    for number, candidate in enumerate(distinct, 1):
        on_step(f"trying the preprocessing {candidate.names[0]}", number, len(distinct))
        inputs = pixels.of(candidate)
        outputs = []
        for indices in _batches(len(inputs), batch or BATCH):
            planes = np.stack([candidate.preprocessing.normalize(inputs[index]) for index in indices])
            outputs.append(run_batch(run, planes))
        answers.append(np.concatenate(outputs)[: len(inputs)].argmax(axis=1))
    return rank_answers(distinct, answers, images.truth, images.labels)


def _classes(files: Iterable[Path], folder: Path, labels: Sequence[str]) -> tuple[int, ...]:
    names = [relative_name(file, folder) for file in files]
    classes = classes_from_folders(names, labels)
    if classes is None:
        unlabelled = sorted(
            {name.rpartition("/")[0] or "(no folder)" for name in names if classes_from_folders([name], labels) is None}
        )
        raise UsageError(
            f"`preprocess='find'` needs labelled samples, and these folders in {folder} are not named after a label: "
            f"{', '.join(unlabelled[:5])}{', ...' * (len(unlabelled) > 5)}.",
            hint=f"Put the images of each class into a folder named after its label ({', '.join(labels[:5])}"
            f"{', ...' * (len(labels) > 5)}).",
        )
    return tuple(classes)


@dataclass(frozen=True, eq=False)
class _Pixels:
    """Images before scaling.

    Attributes:
        by_geometry: uint8 (images, height, width, channels), RGB or L.
        distorted: whether squashing changed the proportions of any.
    """

    by_geometry: dict[Geometry, NDArray[np.uint8]]
    distorted: bool

    @classmethod
    def read(cls, files: Sequence[Path], size: tuple[int, int], channels: int) -> _Pixels:
        order: Channels = "L" if channels == 1 else "RGB"
        pixels: dict[Geometry, list[NDArray[np.uint8]]] = {squashed(size): [], cropped(size): []}
        distorted = False
        for file in files:
            image = read_image(file)
            distorted |= image.width * size[0] != image.height * size[1]
            for (resize, crop), images in pixels.items():
                images.append(Preprocessing(order, resize=resize, crop=crop).pixels(image))
        return cls({geometry: np.stack(images) for geometry, images in pixels.items()}, distorted)

    def of(self, candidate: Candidate) -> NDArray[np.uint8]:
        """Return the pixels that ``candidate`` scales, in its order of channels."""
        pixels = self.by_geometry[candidate.geometry]
        if candidate.preprocessing.channels == "BGR":
            pixels = pixels[..., ::-1]
        return 255 - pixels if candidate.inverted else pixels


def _merged(candidates: Sequence[Candidate], pixels: _Pixels) -> list[Candidate]:
    """Merge candidates that are equivalent for these images, as RGB and BGR are if all of them are grey."""
    distinct: list[Candidate] = []
    for candidate in candidates:
        for position, other in enumerate(distinct):
            if _scaling(other) == _scaling(candidate) and np.array_equal(pixels.of(other), pixels.of(candidate)):
                distinct[position] = other.also_named(candidate.names)
                break
        else:
            distinct.append(candidate)
    return distinct


def _scaling(candidate: Candidate) -> tuple[object, ...]:
    steps = candidate.preprocessing
    return steps.divide_by, steps.mean, steps.std


def _batches(count: int, size: int) -> Iterable[NDArray[np.intp]]:
    """Indices of full batches; the last one is filled up from the beginning, as the size may be fixed."""
    return (np.arange(start, start + size) % count for start in range(0, count, size))
