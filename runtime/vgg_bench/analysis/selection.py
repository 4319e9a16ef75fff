"""The best row that satisfies constraints, and the commands that use it."""

from __future__ import annotations

import os
import shlex
from dataclasses import dataclass

from vgg_bench.analysis.ranking import MIN_AGREEMENT, candidates, equally_fast, preferred
from vgg_bench.results import Results, Row
from vgg_runtime.errors import UsageError, VerificationError

__all__ = ["Constraints", "Selection", "best"]


@dataclass(frozen=True)
class Constraints:
    """What a row must satisfy; None is no constraint.

    Attributes:
        max_latency_ms: median of one call, in milliseconds.
        max_size_mb: files of the variant, in MB (10^6 bytes).
        min_agreement: share of samples with the best class of eager PyTorch, 0 to 1. None requires
            :data:`MIN_AGREEMENT` if the variant was verified; a number requires that it was.

    Raises:
        UsageError: a limit is out of range.
    """

    max_latency_ms: float | None = None
    max_size_mb: float | None = None
    min_agreement: float | None = None

    def __post_init__(self) -> None:
        for name, limit in (("max_latency_ms", self.max_latency_ms), ("max_size_mb", self.max_size_mb)):
            if limit is not None and not limit > 0:
                raise UsageError(f"`{name}` must be above 0, got {limit:g}.")
        if self.min_agreement is not None and not 0 <= self.min_agreement <= 1:
            raise UsageError(f"`min_agreement` must be a share from 0 to 1, got {self.min_agreement:g}.")

    def __str__(self) -> str:
        parts = [f"agreement of at least {self._least_agreement:g}"]
        if self.max_size_mb is not None:
            parts.insert(0, f"a size of at most {self.max_size_mb:g} MB")
        if self.max_latency_ms is not None:
            parts.insert(0, f"a latency of at most {self.max_latency_ms:g} ms")
        return ", ".join(parts[:-1]) + " and " * (len(parts) > 1) + parts[-1]

    @property
    def _least_agreement(self) -> float:
        return MIN_AGREEMENT if self.min_agreement is None else self.min_agreement

    def misses(self, row: Row) -> list[Miss]:
        """Return the constraints that ``row`` does not satisfy."""
        assert row.latency is not None  # only measured rows are candidates
        latency, size, agreement = row.latency.p50.value, row.bytes / 1e6, row.quality.top1_agreement
        texts = []
        if self.max_latency_ms is not None and latency > self.max_latency_ms:
            texts.append(_excess("latency", latency, self.max_latency_ms, "ms"))
        if self.max_size_mb is not None and size > self.max_size_mb:
            texts.append(_excess("size", size, self.max_size_mb, "MB"))
        if agreement is None and self.min_agreement is not None:
            texts.append(Miss(1.0, "agreement is unknown, as it was not verified"))
        elif agreement is not None and agreement < self._least_agreement:
            short = self._least_agreement - agreement
            texts.append(Miss(short / self._least_agreement, f"agreement is {agreement:.4g}, {short:.2g} short"))
        return texts


@dataclass(frozen=True)
class Miss:
    """A constraint that a row does not satisfy.

    Attributes:
        share: by how much, as a share of the limit.
        message: the same in words.
    """

    share: float
    message: str


@dataclass(frozen=True)
class Selection:
    """The row to deploy.

    Attributes:
        why: the reason for it, and the rows that are as fast.
        command: the shell command that uses it.
        python: the line of Python that opens it.
    """

    row: Row
    why: str
    command: str
    python: str


def best(
    results: Results, constraints: Constraints | None = None, *, bundle: str | os.PathLike[str] | None = None
) -> Selection:
    """Return the fastest row that satisfies ``constraints``; of equally fast ones the smallest.

    Rows are those at the smallest batch size that run without PyTorch. Without constraints it is the recommended one.

    Args:
        bundle: path in these lines; by default the name in ``results``.

    Raises:
        VerificationError: no row satisfies them; the hint names the nearest miss.
    """
    constraints = constraints or Constraints()
    rows = candidates(results)
    satisfying = [row for row in rows if not constraints.misses(row)]
    row = preferred(satisfying)
    if row is None:
        raise _nothing(rows, constraints)
    path = os.fspath(bundle) if bundle is not None else results.bundle
    counts = f"{len(satisfying)} of the {len(rows)} that can be deployed; {len(results.measured)} rows measured"
    return Selection(row, _why(row, satisfying, counts, constraints), _command(row, path), _python(row, path))


def _excess(quantity: str, value: float, limit: float, unit: str) -> Miss:
    over = value - limit
    return Miss(over / limit, f"{quantity} is {value:.4g} {unit}, {over:.3g} {unit} ({over / limit:.0%}) over")


def _nothing(rows: list[Row], constraints: Constraints) -> VerificationError:
    if not rows:
        return VerificationError(
            "nothing that can be deployed was measured.",
            hint="Measure an ONNX variant on onnxruntime, onnxruntime-cuda or openvino.",
        )
    # The nearest row is the one whose largest miss, as a share of its limit, is the smallest.
    nearest = min(rows, key=lambda row: max(miss.share for miss in constraints.misses(row)))
    missed = " and ".join(miss.message for miss in constraints.misses(nearest))
    return VerificationError(
        f"none of the {len(rows)} rows that can be deployed has {constraints}.",
        hint=f"The nearest is {nearest.subject.name}: {missed}.",
    )


def _why(row: Row, satisfying: list[Row], counts: str, constraints: Constraints) -> str:
    equal = [_rival(other, row) for other in satisfying if other is not row and equally_fast(other, row)]
    words = f"the fastest with {constraints} ({counts})"
    return words + (f"; equally fast and no smaller: {', '.join(equal)}" if equal else "")


def _rival(other: Row, row: Row) -> str:
    threads = f" with {other.subject.threads} threads" if other.subject.threads != row.subject.threads else ""
    return f"{other.subject.variant} on {other.subject.backend}{threads}"


def _placement(row: Row) -> tuple[str, str | None]:
    """Return the device, and the engine unless it is the runtime's default."""
    engine = row.subject.engine
    return row.subject.device, None if engine == "onnxruntime" else engine


def _command(row: Row, bundle: str) -> str:
    subject, (device, engine) = row.subject, _placement(row)
    options = {
        "--variant": subject.variant,
        "--device": device,
        "--backend": engine,
        "--threads": subject.threads,
        "--batch-size": subject.batch_size if subject.batch_size != 1 else None,
    }
    arguments = [f"{name} {value}" for name, value in options.items() if value is not None]
    return f"vgg-run predict {shlex.quote(bundle)} IMAGE {' '.join(arguments)}"


def _python(row: Row, bundle: str) -> str:
    subject, (device, engine) = row.subject, _placement(row)
    options = {"variant": subject.variant, "device": device, "backend": engine, "threads": subject.threads}
    arguments = [f"{name}={_source(value)}" for name, value in options.items() if value is not None]
    return f"Classifier.open({', '.join([_source(bundle), *arguments])})"


def _source(value: str | int) -> str:
    """Return ``value`` as Python, with text in double quotes unless it needs escapes."""
    return f'"{value}"' if repr(value) == f"'{value}'" and '"' not in repr(value) else repr(value)
