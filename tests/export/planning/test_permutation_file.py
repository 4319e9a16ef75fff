"""A permutation is read from the file that training saved it to, and nothing else is taken for one."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from vgg_export.planning.preprocess_spec import read_permutation, resolve_preprocessing
from vgg_runtime.errors import PreprocessingError

PERMUTATION = [3, 0, 2, 1]

SAVED: dict[str, Callable[[Path], object]] = {
    "order.json": lambda file: file.write_text(json.dumps(PERMUTATION)),
    "order.npy": lambda file: np.save(file, np.array(PERMUTATION)),
    "lines.txt": lambda file: np.savetxt(file, PERMUTATION, fmt="%d"),
    "commas.txt": lambda file: file.write_text(", ".join(map(str, PERMUTATION))),
    "order.pt": lambda file: torch.save(torch.tensor(PERMUTATION), file),
    "order.PTH": lambda file: torch.save(PERMUTATION, file),
}


class RunsWhenUnpickled:
    def __reduce__(self) -> tuple[Callable[..., object], tuple[str]]:
        return open, ("must-not-run",)


REFUSED: dict[str, tuple[Callable[[Path], object], str]] = {
    "order.csv": (lambda file: file.write_text("0,1"), "cannot be read from this kind of file"),
    "floats.npy": (lambda file: np.save(file, np.array([1.0, 0.0])), r"float64 of shape \[2\]"),
    "square.npy": (lambda file: np.save(file, np.eye(2, dtype=int)), r"int64 of shape \[2, 2\]"),
    "words.txt": (lambda file: file.write_text("0 one"), "cannot be read"),
    "ragged.json": (lambda file: file.write_text("[[0], [1, 2]]"), "cannot be read"),
    "missing.npy": (lambda file: None, "cannot be read"),
    "truncated.pt": (lambda file: file.write_bytes(b"PK"), "cannot be read"),
    "code.pt": (lambda file: torch.save(RunsWhenUnpickled(), file), "could run code"),
    "code.npy": (lambda file: file.write_bytes(pickle.dumps(RunsWhenUnpickled())), "cannot be read"),
    "named.pt": (lambda file: torch.save({"order": torch.tensor(PERMUTATION)}, file), "object of shape"),
}


@pytest.mark.parametrize("name", SAVED)
def test_every_way_of_saving_it_is_read(tmp_path: Path, name: str) -> None:
    SAVED[name](tmp_path / name)
    assert read_permutation(tmp_path / name) == PERMUTATION


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_row_of_integers_is_refused(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    save, message = REFUSED[name]
    save(tmp_path / name)
    with pytest.raises(PreprocessingError, match=message) as refused:
        read_permutation(tmp_path / name)
    assert "weights_only" not in refused.value.message
    assert "\n" not in refused.value.message
    assert not Path("must-not-run").exists()


def test_the_description_names_a_file_beside_itself(tmp_path: Path) -> None:
    folder = tmp_path / "descriptions"
    (folder / "orders").mkdir(parents=True)
    (folder / "orders" / "first.txt").write_text("3 0 2 1")
    (folder / "own.json").write_text('{"channels": "L", "permutation": "orders/first.txt"}')
    preprocessing = resolve_preprocessing(str(folder / "own.json"), size=(2, 2), channels=1)
    assert preprocessing.permutation == tuple(PERMUTATION)


def test_integers_that_are_no_permutation_are_refused(tmp_path: Path) -> None:
    (tmp_path / "order.txt").write_text("0 0 1 2")
    (tmp_path / "own.json").write_text('{"channels": "L", "permutation": "order.txt"}')
    with pytest.raises(PreprocessingError, match="4 entries, but not each of 0 to 3 exactly once"):
        resolve_preprocessing(str(tmp_path / "own.json"), size=(2, 2), channels=1)
