"""``vgg-bench --compare``: two runs side by side."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace

from vgg_bench.analysis.ranking import NOISE, SAME_SIZE, recommended
from vgg_bench.formatting import format_number, interval
from vgg_bench.results import BenchmarkCase, Estimate, Results, Row
from vgg_runtime._internal.json_codec import dump_json

__all__ = ["COLD_START", "EQUAL", "LATENCY", "QUANTITIES", "Comparison", "Difference", "Quantity", "as_text", "compare"]


@dataclass(frozen=True)
class Comparison:
    """Two runs side by side.

    Attributes:
        names: of the first and the second run.
        same_machine: whether latencies that moved together with the baseline's count as equal.
        noise: smallest relative difference of a latency that counts: the noise of both runs together.
        notes: other differences of the runs: machine, versions, checkpoint, failures, recommendation.
        differences: every quantity of every row that both runs measured.
        only_before, only_after: what only one of the runs has.
    """

    names: tuple[str, str]
    same_machine: bool
    noise: float
    notes: tuple[str, ...]
    differences: tuple[Difference, ...]
    only_before: tuple[str, ...]
    only_after: tuple[str, ...]

    @property
    def changes(self) -> list[Difference]:
        """The differences beyond noise."""
        return [difference for difference in self.differences if difference.verdict != EQUAL]

    def dump(self) -> str:
        """Return the comparison as JSON text."""
        return dump_json(self, indent=1)


def compare(before: Results, after: Results, *, names: tuple[str, str] = ("A", "B")) -> Comparison:
    """Return what differs in ``after``.

    A difference counts if the intervals do not overlap and the values differ by more than the noise that either
    run states. If the baseline has moved on the same machine, it is the machine that has changed; a latency then counts
    only if its ratio to the baseline differs as well.
    """
    same_machine = _machine(before) == _machine(after)
    noise = max(NOISE, before.machine.noise or 0, after.machine.noise or 0)
    ours, theirs = _by_subject(before, after)
    pairs = [(row, theirs[subject]) for subject, row in ours.items() if subject in theirs]
    baselines = [(a, b) for a, b in pairs if same_machine and before.is_baseline(a)]
    moved = {a.subject.setting for a, b in baselines if LATENCY.verdict(a, b, noise) != EQUAL}
    quantities = [quantity for quantity in QUANTITIES if quantity is not COLD_START or _starts(before, after) > 1]
    differences = [
        Difference.of(a, b, quantity, noise, by_ratio=a.subject.setting in moved and not before.is_baseline(a))
        for a, b in pairs
        for quantity in quantities
    ]
    return Comparison(
        names,
        same_machine,
        noise,
        tuple(_notes(before, after, names)),
        tuple(difference for difference in differences if difference is not None),
        tuple(row.subject.name for subject, row in ours.items() if subject not in theirs),
        tuple(row.subject.name for subject, row in theirs.items() if subject not in ours),
    )


def as_text(comparison: Comparison) -> str:
    """Return the comparison as readable text, changes first."""
    first, second = comparison.names
    lines = [f"{first} -> {second}", *comparison.notes, ""]
    if comparison.changes:
        lines.append(f"Changed beyond noise (latencies: intervals apart, and {comparison.noise:.1%} or more):")
        for subject in dict.fromkeys(difference.subject for difference in comparison.changes):
            lines.append(f"  {subject.name}")
            lines += [f"    {difference}" for difference in comparison.changes if difference.subject == subject]
    else:
        lines.append(f"Nothing changed beyond noise (latencies: {comparison.noise:.1%}).")
    if equal := Counter(difference.quantity for difference in comparison.differences if difference.verdict == EQUAL):
        lines.append(f"Equal within noise: {', '.join(f'{count} x {quantity}' for quantity, count in equal.items())}.")
    lines += [f"Only in {first}: {name}" for name in comparison.only_before]
    lines += [f"Only in {second}: {name}" for name in comparison.only_after]
    return "\n".join(lines)


def _starts(before: Results, after: Results) -> int:
    return min(before.method.starts, after.method.starts)


def _by_subject(before: Results, after: Results) -> tuple[dict[BenchmarkCase, Row], dict[BenchmarkCase, Row]]:
    """Return the rows of both that did not fail, by the key that they are matched on.

    If each run has a single number of threads, such as all of its machine's, the key leaves it out.
    """
    one = all(len({row.subject.threads for row in results.rows}) == 1 for results in (before, after))

    def rows(results: Results) -> dict[BenchmarkCase, Row]:
        return {replace(row.subject, threads=0) if one else row.subject: row for row in results.measured}

    return rows(before), rows(after)


def _machine(results: Results) -> dict[str, str]:
    machine = results.machine
    # The kernel may hold back a little more or less of the same memory.
    memory = f"{machine.memory_gb:.0f} GB"
    return {"processor": machine.processor, "CPUs": str(machine.cpus), "memory": memory, "GPU": machine.gpu or "none"}


def _notes(before: Results, after: Results, names: tuple[str, str]) -> Iterator[str]:
    for name, results in zip(names, (before, after), strict=True):
        noise = "unknown" if results.machine.noise is None else f"{results.machine.noise:.1%}"
        unfinished = "" if results.method.finished else "; it was interrupted"
        yield f"Noise of {name}: {noise}{unfinished}."
    if _starts(before, after) < 2:
        yield "Cold starts are not compared: a single start has no interval."
    about = (("checkpoint", before.source, after.source), ("bundle", before.bundle, after.bundle))
    yield from (f"The {name} differs: {a} -> {b}." for name, a, b in about if a != b)
    for name, a, b in _unequal(_machine(before), _machine(after)):
        yield f"Another machine, {name}: {a} -> {b}."
    system, versions = (before.machine.system, after.machine.system), _unequal(before.versions, after.versions)
    yield from (f"Version of {name}: {a} -> {b}." for name, a, b in versions)
    if system[0] != system[1]:
        yield f"System: {system[0]} -> {system[1]}."
    for name, results in zip(names, (before, after), strict=True):
        yield from (f"Failed in {name}: {row.subject.name}: {row.failure}" for row in results.rows if row.failure)
    best, then = _recommended(before), _recommended(after)
    if best != then:
        yield f"Recommended: {best} -> {then}."


def _unequal(a: Mapping[str, str], b: Mapping[str, str]) -> Iterator[tuple[str, str, str]]:
    for name in dict.fromkeys([*a, *b]):
        if a.get(name) != b.get(name):
            yield name, a.get(name, "none"), b.get(name, "none")


def _recommended(results: Results) -> str:
    subject = recommended(results)
    return "nothing" if subject is None else subject.name


EQUAL = "equal"


@dataclass(frozen=True)
class Quantity:
    """Something that both runs measured of a row.

    Attributes:
        margin: smallest relative change that counts, however narrow the intervals are.
        more, less: words for an increase and for a decrease.
        timed: whether the noise of the runs applies to it.
    """

    name: str
    unit: str
    of: Callable[[Row], Estimate | float | None]
    margin: float
    more: str
    less: str
    timed: bool = False

    def estimate(self, row: Row) -> Estimate | None:
        """Return the value in ``row``; a plain number is its own interval."""
        value = self.of(row)
        return Estimate(value, value, value) if isinstance(value, int | float) else value

    def verdict(self, before: Row, after: Row, noise: float) -> str:
        """Return how ``after`` differs by more than ``noise`` and beyond the intervals, or "equal"."""
        a, b = self.estimate(before), self.estimate(after)
        if a is None or b is None or not _apart(a, b, max(self.margin, noise) if self.timed else self.margin):
            return EQUAL
        return self.more if b.value > a.value else self.less


LATENCY = Quantity(
    "latency", "ms", lambda row: row.latency.p50 if row.latency else None, NOISE, "slower", "faster", timed=True
)

# Start-up and memory of a process vary more than its computing.
COLD_START = Quantity(
    "cold start", "s", lambda row: row.cold_start_s, 0.2, "slower to start", "faster to start", timed=True
)

QUANTITIES: tuple[Quantity, ...] = (
    LATENCY,
    COLD_START,
    Quantity("peak memory", "MB", lambda row: row.memory.peak if row.memory else None, 0.2, "more", "less"),
    Quantity("size", "MB", lambda row: row.bytes / 1e6, SAME_SIZE, "larger", "smaller"),
    Quantity("agreement", "", lambda row: row.quality.top1_agreement, 0.0, "agrees more", "agrees less"),
    Quantity("accuracy", "", lambda row: row.quality.accuracy, 0.0, "more accurate", "less accurate"),
)


@dataclass(frozen=True)
class Difference:
    """A quantity of one row in both runs.

    Attributes:
        verdict: "equal", or how the second run differs beyond noise.
    """

    subject: BenchmarkCase
    quantity: str
    unit: str
    before: Estimate
    after: Estimate
    verdict: str

    @classmethod
    def of(cls, before: Row, after: Row, quantity: Quantity, noise: float, *, by_ratio: bool) -> Difference | None:
        """Return how ``quantity`` differs, None if a row has none.

        Args:
            by_ratio: a latency counts as equal if its ratio to the baseline does.
        """
        a, b = quantity.estimate(before), quantity.estimate(after)
        if a is None or b is None:
            return None
        verdict = quantity.verdict(before, after, noise)
        if quantity is LATENCY and by_ratio and _same_ratio(before, after, noise):
            verdict = EQUAL
        return cls(before.subject, quantity.name, quantity.unit, a, b, verdict)

    def __str__(self) -> str:
        change = f"{self.quantity} {interval(self.before)} -> {interval(self.after)} {self.unit}".rstrip()
        factor = f", {format_number(self.after.value / self.before.value)} times" if self.before.value else ""
        return f"{change}: {self.verdict}{factor}"


def _apart(a: Estimate, b: Estimate, margin: float) -> bool:
    return not a.overlaps(b) and max(a.value, b.value) > min(a.value, b.value) * (1 + margin)


def _same_ratio(before: Row, after: Row, noise: float) -> bool:
    return before.ratio is not None and after.ratio is not None and not _apart(before.ratio, after.ratio, noise)
