from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the images are written once."""
    return tmp_path_factory.mktemp("images")
