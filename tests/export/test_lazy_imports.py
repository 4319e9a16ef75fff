"""``import vgg_export`` and ``vgg-export --help`` stay light: torch comes with the first use."""

from __future__ import annotations

import subprocess
import sys

import pytest


@pytest.mark.parametrize("statement", ["import vgg_export", "import vgg_export.cli, vgg_export.planning.labels"])
def test_importing_brings_in_no_torch(statement: str) -> None:
    program = f"import sys; {statement}; print({{'torch', 'onnx', 'onnxruntime'}} & sys.modules.keys())"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


def test_every_public_name_is_there() -> None:
    import vgg_export

    assert callable(vgg_export.export)
    assert all(hasattr(vgg_export, name) for name in vgg_export.__all__)
    with pytest.raises(AttributeError, match="no attribute 'exports'"):
        vgg_export.exports  # noqa: B018
