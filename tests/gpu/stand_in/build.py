"""Build the libraries that stand in for NVIDIA's: ``python build.py FOLDER``, with onnxruntime-gpu in FOLDER/site.

FOLDER/lib then has them under the names that ONNX Runtime loads; they must be preloaded. Needs gcc and nm.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

SOURCE = Path(__file__).with_name("stand_in.c")
LIBRARIES = (
    "libcuda.so.1",
    "libcudart.so.13",
    "libcublas.so.13",
    "libcublasLt.so.13",
    "libcurand.so.10",
    "libcudnn.so.9",
    "libnvidia-ml.so.1",
)


def needed_functions(provider: Path) -> set[str]:
    """The functions of NVIDIA's libraries that ``provider`` calls, those of cuDNN by their names alone."""
    command = ["nm", "-D", "--undefined-only", provider]
    symbols = subprocess.run(command, check=True, capture_output=True, text=True)
    linked = re.findall(r" U ((?:__cuda|cuda|cublas|curand|cu[A-Z])\w*)", symbols.stdout)
    loaded = re.findall(rb"\0(cudnn[A-Z]\w+)(?=\0)", provider.read_bytes())
    return {*linked, *map(bytes.decode, loaded)}


def main(folder: Path) -> None:
    written = SOURCE.read_text()
    present = set(re.findall(r"^[\w ]+?\**(\w+)\(", written, re.MULTILINE))
    provider = folder / "site/onnxruntime/capi/libonnxruntime_providers_cuda.so"
    names = needed_functions(provider) | {"cuInit", "nvmlInitWithFlags"}
    nothing = "".join(f"int {name}(void) {{ return 0; }}\n" for name in sorted(names - present))
    library = folder / "lib"
    library.mkdir(exist_ok=True)
    complete = folder / "complete.c"
    complete.write_text(written + nothing)
    for name in LIBRARIES:
        command = ["gcc", "-O3", "-w", "-shared", "-fPIC", f"-Wl,-soname,{name}", complete, "-o", library / name]
        subprocess.run(command, check=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
