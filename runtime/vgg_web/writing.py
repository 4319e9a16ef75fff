"""Writing the page: the static files of this package, the engine, and a bundle of one variant."""

from __future__ import annotations

import os
import shlex
import shutil
from dataclasses import dataclass, replace
from pathlib import Path

from vgg_runtime._internal.staging import staging_directory
from vgg_runtime.bundle.checksums import require_unchanged
from vgg_runtime.bundle.directory import GOLDEN, MANIFEST, Bundle, open_bundle
from vgg_runtime.bundle.manifest import Manifest, Variant
from vgg_runtime.errors import BundleError, ChecksumError, UsageError
from vgg_web.engine import ENGINE_FILES, INSTALLED_HERE, OnnxruntimeWeb, find_engine

__all__ = ["WebPage", "check_page", "write_page"]

_ASSETS = Path(__file__).with_name("assets")

# The folders of a page; vgg_runtime.js expects the engine beside itself, index.html the bundle.
_ENGINE, _BUNDLE = "onnxruntime-web", "bundle"

_DEFAULT_VARIANT = "onnx-int8-static"


@dataclass(frozen=True)
class WebPage:
    """A page that was written.

    Attributes:
        directory: its path; a web server has to serve it.
        variant: what it runs.
        engine: the onnxruntime-web that runs it.
        publishes_samples: whether it holds preprocessed sample images, the golden inputs.

    Examples:
        >>> from vgg_web import write_page
        >>> page = write_page("slim_vgg.bundle", "small_page")
        >>> page.variant.name, page.publishes_samples
        ('onnx-int8-static', True)
    """

    directory: Path
    variant: Variant
    engine: OnnxruntimeWeb
    publishes_samples: bool

    def summary(self) -> list[str]:
        """Return what was written, and how to look at it, as lines for a terminal."""
        size = f"{self.variant.bytes / 1e6:.1f} MB"
        lines = [f"{self.directory}: {self.variant.name} ({size}) on onnxruntime-web {self.engine.version}"]
        if self.publishes_samples:
            lines.append(f"note: {_BUNDLE}/{GOLDEN} has sample images, which are published with the page")
        return [*lines, f"python3 -m http.server -d {shlex.quote(str(self.directory))}"]


def write_page(
    bundle: str | os.PathLike[str],
    output: str | os.PathLike[str],
    *,
    variant: str | None = None,
    onnxruntime_web: str | os.PathLike[str] = INSTALLED_HERE,
    key: str | os.PathLike[str] | None = None,
    overwrite: bool = False,
) -> WebPage:
    """Write a static page that classifies images and the camera's pictures in the browser.

    The directory appears whole or not at all. Its folder ``bundle`` is a bundle of one variant, without what the
    manifest says about images that calibrated it.

    Args:
        bundle: directory that vgg-export wrote.
        output: directory of the page.
        variant: name of an ONNX variant; by default onnx-int8-static, or the smallest one.
        onnxruntime_web: folder of the npm package onnxruntime-web, whose files are copied.
        key: PEM file of the public key that must have signed the bundle; None accepts any. The page is not signed.
        overwrite: replace a page that was written before.

    Raises:
        BundleError: the bundle is damaged, lacks the variant, or the variant is not ONNX.
        ChecksumError: a file of the bundle has changed.
        MissingCapabilityError: onnxruntime-web is missing, or the page cannot be written.
        SignatureError: the bundle is not signed by ``key``.
        UsageError: ``output`` exists and is not to be overwritten, or is not a page.

    Examples:
        >>> from vgg_web import write_page
        >>> page = write_page("slim_vgg.bundle", "page_fp32", variant="onnx-fp32")
        >>> page.engine.version
        '1.30.0'
        >>> (page.directory / "index.html").is_file()
        True
    """
    source, destination = open_bundle(bundle, key=key), Path(output)
    entry = _choose_variant(source.manifest, variant)
    engine = check_page(destination, onnxruntime_web=onnxruntime_web, overwrite=overwrite)
    with staging_directory("the page", destination, within=destination.parent) as staging:
        shutil.copytree(_ASSETS, staging, dirs_exist_ok=True)
        (staging / _ENGINE).mkdir()
        for file in ENGINE_FILES:
            shutil.copyfile(engine.folder / file, staging / _ENGINE / file)
        _write_bundle(source, entry, staging / _BUNDLE)
        _put_in_place(staging, destination)
    return WebPage(destination, entry, engine, publishes_samples=source.manifest.golden is not None)


def check_page(destination: Path, *, onnxruntime_web: str | os.PathLike[str], overwrite: bool) -> OnnxruntimeWeb:
    """Return the engine that is there, if a page could be written.

    Raises:
        MissingCapabilityError: as :func:`find_engine`.
        UsageError: ``destination`` exists and ``overwrite`` is not set, or it holds a file that is not part of a page.
    """
    engine = find_engine(onnxruntime_web)
    if not os.path.lexists(destination):
        return engine
    if not overwrite:
        raise UsageError(f"{destination} exists.", hint="Give `overwrite=True` to replace it, or another directory.")
    if destination.is_symlink() or not (destination / _BUNDLE / MANIFEST).is_file():
        raise UsageError(f"{destination} is not a page, so it is not replaced.", hint="Give another directory.")
    ours = _names_below(_ASSETS) | {f"{_ENGINE}/{file}" for file in ENGINE_FILES}
    if extra := sorted(_names_below(destination) - ours):
        raise UsageError(
            f"{destination} holds more than a page, so it is not replaced: {', '.join(extra)}.",
            hint="Move that elsewhere, or give another directory.",
        )
    return engine


def _names_below(directory: Path) -> set[str]:
    """The paths of the files in a page, but for those of its bundle."""
    names = {path.relative_to(directory).as_posix() for path in directory.rglob("*") if not path.is_dir()}
    return {name for name in names if not name.startswith(f"{_BUNDLE}/")}


def _choose_variant(manifest: Manifest, name: str | None) -> Variant:
    onnx = [variant for variant in manifest.variants if variant.format == "onnx"]
    names = ", ".join(variant.name for variant in onnx)
    if name is not None and (variant := manifest.variant(name)) not in onnx:
        raise BundleError(
            f"{variant.name} is {variant.format}, which browsers do not run.",
            hint=f"The ONNX variants are {names}." if onnx else "Export with `formats=['onnx']`.",
        )
    if not onnx:
        raise BundleError(
            "the bundle has no ONNX variant, and browsers run no other.", hint="Export with `formats=['onnx']`."
        )
    if name is not None:
        return manifest.variant(name)
    return min(onnx, key=lambda variant: (variant.name != _DEFAULT_VARIANT, variant.bytes))


def _write_bundle(source: Bundle, variant: Variant, directory: Path) -> None:
    """Copy one variant of a bundle, and compare what was copied with its checksums.

    The names of the images that calibrated it are left out: a page is public.
    """
    manifest = replace(source.manifest, variants=(variant,), left_out=(), calibration=None, compression=None)
    names = [*variant.sha256, *([GOLDEN] if manifest.golden else [])]
    for name in names:
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source.path(name), directory / name)
    (directory / MANIFEST).write_text(manifest.dump_with_checksum(), encoding="utf-8")
    require_unchanged(open_bundle(directory).changed_files(), as_error=ChecksumError)


def _put_in_place(new: Path, destination: Path) -> None:
    old = new.with_name("old")
    if destination.exists():
        destination.rename(old)
    try:
        new.rename(destination)
    except OSError:
        if old.exists():
            old.rename(destination)
        raise
