"""The formats of the output: each writes the rows of a shard to one file, and counts the errors in such a file."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from vgg_score._pyarrow import import_pyarrow
from vgg_score.rows import Row

__all__ = ["FORMATS", "Format"]


@dataclass(frozen=True)
class Format:
    """How a shard is written.

    Attributes:
        write: writes rows with these columns to a file; a format that holds metadata stores that too.
        count_errors: returns how many rows of a file have an error.
    """

    write: Callable[[Path, Sequence[Row], Mapping[str, type], Mapping[str, str]], None]
    count_errors: Callable[[Path], int]


def _write_parquet(file: Path, rows: Sequence[Row], columns: Mapping[str, type], metadata: Mapping[str, str]) -> None:
    pa = import_pyarrow()
    types = {str: pa.string(), int: pa.int32(), float: pa.float64()}
    schema = pa.schema([(name, types[type_]) for name, type_ in columns.items()], metadata)
    pa.parquet.write_table(pa.Table.from_pylist(list(rows), schema), file)


def _count_parquet_errors(file: Path) -> int:
    errors = import_pyarrow().parquet.read_table(file, columns=["error"], use_threads=False).column("error")
    return int(len(errors) - errors.null_count)


def _write_jsonl(file: Path, rows: Sequence[Row], columns: Mapping[str, type], metadata: Mapping[str, str]) -> None:
    with file.open("w", encoding="utf-8") as lines:
        lines.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def _count_jsonl_errors(file: Path) -> int:
    with file.open(encoding="utf-8") as lines:
        return sum(json.loads(line)["error"] is not None for line in lines)


def _write_csv(file: Path, rows: Sequence[Row], columns: Mapping[str, type], metadata: Mapping[str, str]) -> None:
    with file.open("w", encoding="utf-8", newline="") as lines:
        writer = csv.DictWriter(lines, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def _count_csv_errors(file: Path) -> int:
    with file.open(encoding="utf-8", newline="") as lines:
        return sum(row["error"] != "" for row in csv.DictReader(lines))


FORMATS: dict[str, Format] = {
    "parquet": Format(_write_parquet, _count_parquet_errors),
    "jsonl": Format(_write_jsonl, _count_jsonl_errors),
    "csv": Format(_write_csv, _count_csv_errors),
}
