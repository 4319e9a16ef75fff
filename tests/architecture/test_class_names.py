from __future__ import annotations

import ast
from collections import defaultdict
from pathlib import Path

from packages import PACKAGES

ROOT = Path(__file__).parents[2]


def test_class_name_means_one_thing_in_all_packages() -> None:
    homes = defaultdict(list)
    for file in (file for package in PACKAGES for file in ROOT.glob(f"*/{package}/**/*.py")):
        for node in ast.parse(file.read_text("utf-8")).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                homes[node.name].append(file.relative_to(ROOT).as_posix())
    assert len(homes) > 50
    assert {name: files for name, files in homes.items() if len(files) > 1} == {}
