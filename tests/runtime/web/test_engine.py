from __future__ import annotations

from pathlib import Path

import pytest

from vgg_runtime.errors import MissingCapabilityError
from vgg_web.engine import find_engine


def test_engine_is_the_package_or_its_dist(engine_stand_in: Path) -> None:
    engine = find_engine(engine_stand_in)
    assert (engine.folder, engine.version) == (engine_stand_in / "dist", "1.30.0")
    assert find_engine(engine_stand_in / "dist") == engine


@pytest.mark.parametrize("description", [None, "not JSON", "[]", '{"name": "react", "version": "19"}'])
def test_no_engine_names_the_install_command(engine_stand_in: Path, description: str | None) -> None:
    (engine_stand_in / "package.json").unlink()
    if description is not None:
        (engine_stand_in / "package.json").write_text(description)
    with pytest.raises(MissingCapabilityError, match="there is no onnxruntime-web at") as refusal:
        find_engine(engine_stand_in)
    assert "npm install onnxruntime-web@1.30" in refusal.value.hint


def test_engine_without_a_file_is_refused_by_its_name(engine_stand_in: Path) -> None:
    (engine_stand_in / "dist" / "ort-wasm-simd-threaded.wasm").unlink()
    with pytest.raises(MissingCapabilityError, match=r"1\.30\.0 at .* lacks ort-wasm-simd-threaded\.wasm\."):
        find_engine(engine_stand_in)
