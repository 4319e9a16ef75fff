"""The engine of the page: onnxruntime-web, as its npm package has it."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path

from vgg_runtime.errors import MissingCapabilityError

__all__ = ["ENGINE_FILES", "INSTALLED_HERE", "OnnxruntimeWeb", "find_engine"]

# Where npm puts the package, in the folder that it is run in.
INSTALLED_HERE = "node_modules/onnxruntime-web"

_INSTALL = "npm install onnxruntime-web@1.30"

# WASM needs the first three; the page loads the others only where it tries WebGPU.
ENGINE_FILES = (
    "ort.wasm.min.mjs",
    "ort-wasm-simd-threaded.mjs",
    "ort-wasm-simd-threaded.wasm",
    "ort.webgpu.min.mjs",
    "ort-wasm-simd-threaded.asyncify.mjs",
    "ort-wasm-simd-threaded.asyncify.wasm",
)


@dataclass(frozen=True)
class OnnxruntimeWeb:
    """An installed npm package onnxruntime-web.

    Attributes:
        folder: where its :data:`ENGINE_FILES` are.
        version: such as "1.30.0".
    """

    folder: Path
    version: str


def find_engine(path: str | os.PathLike[str]) -> OnnxruntimeWeb:
    """Return the onnxruntime-web whose package, or the ``dist`` of it, is the folder at ``path``.

    Raises:
        MissingCapabilityError: it is not there, or another release that has not all of the files.
    """
    package = Path(path).parent if Path(path).name == "dist" else Path(path)
    try:
        description = json.loads((package / "package.json").read_bytes())
        name, version = description["name"], str(description["version"])
    except (OSError, ValueError, KeyError, TypeError):
        name = version = ""
    if name != "onnxruntime-web":
        raise MissingCapabilityError(
            f"there is no onnxruntime-web at {path}; the page needs its files.",
            hint=f"Run {_INSTALL}, which puts it into {INSTALLED_HERE}; or name its folder by `onnxruntime_web`.",
        )
    if missing := [file for file in ENGINE_FILES if not (package / "dist" / file).is_file()]:
        raise MissingCapabilityError(
            f"onnxruntime-web {version} at {path} lacks {', '.join(missing)}.",
            hint=f"The page is made for release 1.30: {_INSTALL}.",
        )
    return OnnxruntimeWeb(package / "dist", version)
