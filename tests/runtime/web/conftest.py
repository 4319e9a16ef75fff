"""The modules of the page in Node.js, and what the page needs to run in a browser."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import vgg_web

ASSETS = Path(vgg_web.__file__).with_name("assets")

# Arrays come and go as {"type": "float32", "shape": [2, 3], "base64": ...}; in JavaScript they are typed arrays.
PRELUDE = """
import { readFileSync } from "node:fs";
const KINDS = { uint8: Uint8Array, float32: Float32Array };
const decode = (_, value) => {
  if (!value?.base64) return value;
  const bytes = Uint8Array.from(Buffer.from(value.base64, "base64"));
  return Object.assign(new KINDS[value.type](bytes.buffer), { shape: value.shape });
};
const encode = (_, value) => {
  if (!ArrayBuffer.isView(value)) return value;
  return Buffer.from(value.buffer, value.byteOffset, value.byteLength).toString("base64");
};
const input = JSON.parse(readFileSync(0), decode);
const result = await (async () => { %s })();
console.log(JSON.stringify(result, encode));
"""

RunNode = Callable[..., Any]


def as_json(array: np.ndarray) -> dict[str, Any]:
    encoded = base64.b64encode(np.ascontiguousarray(array).tobytes()).decode()
    return {"type": str(array.dtype), "shape": array.shape, "base64": encoded}


@pytest.fixture(scope="session")
def run_node(tmp_path_factory: pytest.TempPathFactory) -> RunNode:
    """Run the body of a function in a folder that holds the page's modules, and return its result.

    Its variable ``input`` holds the second argument. Arrays in the result are base64 text.
    """
    node = shutil.which("node")
    if node is None:
        pytest.skip("no Node.js: apt-get install nodejs puts it there")
    folder = tmp_path_factory.mktemp("modules")
    shutil.copytree(ASSETS, folder, dirs_exist_ok=True)
    (folder / "package.json").write_text('{"type": "module"}')  # as a browser takes them

    def run(body: str, value: Any) -> Any:
        command = [node, "--input-type=module", "--eval", PRELUDE % body]
        text = json.dumps(value, default=as_json)
        done = subprocess.run(command, input=text, capture_output=True, text=True, cwd=folder)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    return run


@pytest.fixture
def engine_stand_in(install_engine: Callable[[Path], Path], tmp_path: Path) -> Path:
    return install_engine(tmp_path)
