from __future__ import annotations

import pkgutil
import tomllib
from importlib import import_module
from pathlib import Path

import pytest
from packages import PACKAGES


def modules() -> list[str]:
    """Every module of the packages."""
    names = []
    for name in PACKAGES:
        package = import_module(name)
        names += [name, *(module.name for module in pkgutil.walk_packages(package.__path__, f"{name}."))]
    return names


@pytest.mark.parametrize("name", modules())
def test_every_public_name_exists(name: str) -> None:
    module = import_module(name)
    public = getattr(module, "__all__", [])
    assert [member for member in public if not hasattr(module, member)] == []
    assert len(set(public)) == len(public)


@pytest.mark.parametrize("name", PACKAGES)
def test_a_package_has_no_name_that_it_does_not_tell(name: str) -> None:
    with pytest.raises(AttributeError, match="no_such_name"):
        import_module(name).no_such_name  # noqa: B018 - the look-up is the test


@pytest.mark.parametrize("name", PACKAGES)
def test_every_package_tells_the_version_of_pyproject(name: str) -> None:
    package = import_module(name)
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert package.__version__ == project["version"]
    assert "__version__" in package.__all__
