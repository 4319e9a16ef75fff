"""The fastest backend on this machine, by a short trial in one process each, whose result is cached."""

from __future__ import annotations

import importlib.metadata
import json
import logging
import math
import subprocess
import sys
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from statistics import median

from vgg_runtime._internal.cache import load_entry, store_entry
from vgg_runtime._internal.child_process import module_command
from vgg_runtime._internal.cpu import cpu_model_name
from vgg_runtime._internal.json_codec import MismatchError, from_json, to_json
from vgg_runtime.backends.base import BackendChoice, SessionConfig
from vgg_runtime.bundle.directory import Bundle
from vgg_runtime.bundle.manifest import Variant
from vgg_runtime.errors import SelfTestError

__all__ = ["DISTRIBUTIONS", "REFUSED", "choose_backend", "fastest", "installed_engines"]

logger = logging.getLogger(__name__)

# Wins ties, because every bundle was verified with it.
DEFAULT = "onnxruntime"

# The names of the engines on PyPI, in the order in which they are tried.
DISTRIBUTIONS = {DEFAULT: ("onnxruntime", "onnxruntime-gpu"), "openvino": ("openvino",)}

# To win, another backend must take less than this share of the default's latency in every round; the rest is noise.
WORTHWHILE = 0.95

ROUNDS = 3

_KIND, _WORKER = "backends", "vgg_runtime._autoselect_worker"

# The exit code of a worker whose backend fails, or gives other outputs.
REFUSED = 3

# If a worker is not ready after this many seconds, something else than this package was started.
PATIENCE = 120.0


class _TrialUnavailableError(Exception):
    """No process could be started to try a backend."""


def choose_backend(bundle: Bundle, variant: Variant, config: SessionConfig) -> BackendChoice:
    """Return the fastest backend that reproduces the golden outputs of ``bundle``, by a trial now or earlier.

    A trial takes some seconds. It is repeated when the variant, the threads, the device, the profile, the CPU or the
    version of an engine changes.

    Raises:
        SelfTestError: no installed backend reproduces the golden outputs.
    """
    engines = installed_engines()
    if (choice := _without_trial(bundle, variant, config, engines)) is not None:
        return choice
    key = _key(variant, config, engines)
    choice = _remembered(key)
    if choice is None:
        try:
            choice = _try(bundle, variant, config, list(engines))
        except _TrialUnavailableError as error:
            return BackendChoice(DEFAULT, f"the default, because no trial could be run here: {error}")
        store_entry(_KIND, key, to_json(choice))
    logger.info("backend %s: %s", choice.backend, choice.reason)
    return choice


def _without_trial(
    bundle: Bundle, variant: Variant, config: SessionConfig, engines: Collection[str]
) -> BackendChoice | None:
    """The choice if there is nothing to try, or nothing to try it with; else None."""
    if variant.format != "onnx":
        return BackendChoice(variant.format, f"the only one that runs {variant.name}")
    if config.device == "cuda":
        return BackendChoice(DEFAULT, "the only one that runs on CUDA")
    if getattr(sys, "frozen", False) or not sys.executable:
        return BackendChoice(DEFAULT, "this program has no Python interpreter to try others with")
    if bundle.manifest.golden is None:
        return BackendChoice(DEFAULT, "the bundle has no golden outputs to check another backend against")
    if not set(engines) - {DEFAULT}:
        return BackendChoice(DEFAULT, "no other backend is installed")
    return None


def installed_engines() -> dict[str, str]:
    """Return name and version of the installed distribution, such as "onnxruntime 1.31.1", by backend."""
    engines: dict[str, str] = {}
    for backend, names in DISTRIBUTIONS.items():
        for name in names:
            try:
                engines[backend] = f"{name} {importlib.metadata.version(name)}"
            except importlib.metadata.PackageNotFoundError:
                continue
    return engines


def _key(variant: Variant, config: SessionConfig, engines: Mapping[str, str]) -> dict[str, str]:
    return {
        "variant": variant.name,
        **variant.sha256,
        "device": config.device,
        "profile": config.profile,
        "threads": str(config.threads),
        "processor": cpu_model_name(),
        "engines": ", ".join(engines.values()),
    }


def _remembered(key: Mapping[str, str]) -> BackendChoice | None:
    stored = load_entry(_KIND, key) or {}
    try:
        choice = from_json(BackendChoice, {name: value for name, value in stored.items() if name != "key"})
    except MismatchError:
        return None  # absent or damaged: tried again
    return choice if choice.backend in DISTRIBUTIONS else None


def _try(bundle: Bundle, variant: Variant, config: SessionConfig, backends: Sequence[str]) -> BackendChoice:
    logger.info("trying %s with %s", variant.name, " and ".join(backends))
    commands = {name: _command(bundle, variant, config, name) for name in backends}
    refused = {name: why for name, command in commands.items() if (why := _refusal(command)) is not None}
    fit = {name: command for name, command in commands.items() if name not in refused}
    if not fit:
        raise SelfTestError(
            f"no backend reproduces the golden outputs of {variant.name}: {_joined(refused)}.",
            hint="Run vgg-run verify on the bundle.",
        )
    if len(fit) == 1:
        return BackendChoice(
            next(iter(fit)), f"the others do not reproduce the golden outputs of {variant.name}: {_joined(refused)}"
        )
    return fastest(_measure(fit))


def _measure(commands: Mapping[str, Sequence[str]]) -> dict[str, list[list[float]]]:
    """Latencies in seconds by backend and round: every backend has its turn in every round.

    Raises:
        _TrialUnavailableError: a process ended.
    """
    rounds: dict[str, list[list[float]]] = {name: [] for name in commands}
    try:
        with ExitStack() as stack:
            turns = {name: stack.enter_context(_worker(command)) for name, command in commands.items()}
            for _ in range(ROUNDS):
                for name, turn in turns.items():
                    rounds[name].append(turn())
    except (OSError, ValueError) as error:  # the pipe is closed
        raise _TrialUnavailableError("a process ended while it was timed") from error
    return rounds


@contextmanager
def _worker(command: Sequence[str]) -> Iterator[Callable[[], list[float]]]:
    """A process that has loaded a backend, as the function that makes it time a turn."""
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        requests, answers = process.stdin, process.stdout
        assert requests is not None
        assert answers is not None

        def turn() -> list[float]:
            requests.write("\n")
            requests.flush()
            latencies: list[float] = json.loads(answers.readline())
            return latencies

        turn()  # not measured: later processes are still loading their models
        yield turn


def fastest(rounds: Mapping[str, Sequence[Sequence[float]]]) -> BackendChoice:
    """Return the choice by latencies in seconds, by backend and round; a tie goes to the default."""
    medians = {name: [median(latencies) for latencies in turns] for name, turns in rounds.items()}
    latency_ms = {name: round(1000 * median(by_round), 4) for name, by_round in medians.items()}
    winner = min(latency_ms, key=latency_ms.__getitem__)
    measured = ", ".join(f"{name} {latency:.3g} ms" for name, latency in latency_ms.items())
    pairs = zip(medians[winner], medians.get(DEFAULT, [math.inf] * len(medians[winner])), strict=True)
    if winner == DEFAULT or all(ours < WORTHWHILE * default for ours, default in pairs):
        return BackendChoice(winner, f"the fastest here: {measured}", latency_ms)
    return BackendChoice(DEFAULT, f"as fast as any here: {measured}", latency_ms)


def _command(bundle: Bundle, variant: Variant, config: SessionConfig, backend: str) -> list[str]:
    command = [*module_command(_WORKER), str(bundle.directory), variant.name]
    key = [] if bundle.key is None else [str(bundle.key)]
    return [*command, backend, config.device, str(config.threads), config.profile, *key]


def _refusal(command: Sequence[str]) -> str | None:
    """Return why the backend is refused, None if it is fit to be timed; without input the worker only checks it.

    Raises:
        _TrialUnavailableError: the worker did not get to its backend at all.
    """
    try:
        done = subprocess.run(
            command,
            check=False,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=PATIENCE,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise _TrialUnavailableError(str(error)) from error
    why = (done.stderr.strip().splitlines() or ["the process exited without an error message"])[-1]
    if done.returncode > 0 and done.returncode != REFUSED:
        raise _TrialUnavailableError(why)
    return None if done.returncode == 0 else why


def _joined(refused: Mapping[str, str]) -> str:
    return "; ".join(f"{name}: {why.rstrip('.')}" for name, why in refused.items())
