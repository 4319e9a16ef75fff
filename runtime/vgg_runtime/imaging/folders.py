"""Folders of images: the files in them, and their names."""

from __future__ import annotations

import os
import random
from collections.abc import Iterable, Iterator
from pathlib import Path

from vgg_runtime.errors import ImageError

__all__ = ["IMAGE_SUFFIXES", "choose_images", "find_images", "images_below", "is_image_name", "relative_name"]


IMAGE_SUFFIXES = (
    *(".avif", ".bmp", ".gif", ".jfif", ".jpe", ".jpeg", ".jpg", ".pgm"),
    *(".png", ".ppm", ".tif", ".tiff", ".webp"),
)


def find_images(paths: str | os.PathLike[str] | Iterable[str | os.PathLike[str]]) -> list[Path]:
    """Return the given files, and the image files below the given folders in sorted order.

    Links to folders are followed. Hidden files and folders, such as thumbnails and the ``._cat.jpg`` of macOS, are
    skipped.

    Raises:
        ImageError: a folder contains no images.
    """
    files: list[Path] = []
    for path in map(Path, [paths] if isinstance(paths, str | os.PathLike) else paths):
        if not os.path.isdir(path):
            files.append(path)
            continue
        inside = sorted(images_below(path))
        if not inside:
            raise ImageError(f"the folder {path} contains no images ({', '.join(IMAGE_SUFFIXES)}).")
        files += inside
    return files


def images_below(folder: Path) -> Iterator[Path]:
    """Yield the image files below ``folder``, always in the same order, with one folder's names in memory at a time.

    A folder's own images come first, then those of its subfolders. Links and hidden names are treated as
    :func:`find_images` says.
    """
    # Linked folders come after the folder's own files, and every folder once, because links may form a cycle.
    starts, visited = [folder], set()
    for start in starts:
        for here, folders, files in os.walk(start):
            real = os.path.realpath(here)
            visible = [] if real in visited else sorted(name for name in folders if not name.startswith("."))
            starts += [link for name in visible if (link := Path(here, name)).is_symlink()]
            folders[:] = visible
            if real not in visited:
                yield from (file for name in sorted(files) if _is_image(file := Path(here, name)))
            visited.add(real)


def is_image_name(name: str) -> bool:
    """Return whether ``name``, the last part of a path, is that of an image file that is not hidden."""
    return not name.startswith(".") and name.lower().endswith(IMAGE_SUFFIXES)


def _is_image(file: Path) -> bool:
    return is_image_name(file.name) and os.path.isfile(file)


def choose_images(folder: Path, count: int, *, seed: int = 0) -> list[Path]:
    """Return at most ``count`` images from below ``folder``, the same ones for the same seed and files.

    Images are drawn from the subfolders in turns, one per subfolder and round, so that every class is present if
    ``count`` allows it.

    Raises:
        ImageError: the folder contains no images.
    """
    classes: dict[Path, list[Path]] = {}
    for file in find_images([folder]):
        classes.setdefault(file.parent, []).append(file)
    shuffle = random.Random(seed).shuffle  # noqa: S311 - reproducible, not secret
    for files in classes.values():
        shuffle(files)
    rounds = max(map(len, classes.values()))
    turns = [files[i] for i in range(rounds) for files in classes.values() if i < len(files)]
    return turns[:count]


def relative_name(file: Path, folder: Path) -> str:
    """Return the name of ``file``, relative to ``folder`` unless they are the same, with "/" on every system.

    Bytes that are not UTF-8 become U+FFFD, because JSON cannot hold them.
    """
    name = file.relative_to(folder) if file != folder else Path(file.name)
    return os.fsencode(name.as_posix()).decode("utf-8", "replace")
