"""What the settings of ONNX Runtime's CUDA provider are worth for a model, in turns.

python tests/benchmark/cuda_settings.py MODEL [--batch-size N] [--device cpu]

Each combination of convolution search, layout and graph capture is a process of its own. The first line is what the
runtime uses; the others are in units of it. On the CPU, which has no such settings, they are all the same.
"""

from __future__ import annotations

import sys
from itertools import product
from pathlib import Path
from typing import Any, Literal

import click
from figure import Figure
from timings import measure

from vgg_bench.timing.serve import image_like_batch, serve
from vgg_runtime.backends.base import CudaOptions, SessionConfig
from vgg_runtime.backends.cuda_presence import CUDA_PROVIDER, require_cuda
from vgg_runtime.backends.io_binding import BoundSession
from vgg_runtime.backends.onnxruntime_cpu import create_session, session_options
from vgg_runtime.backends.onnxruntime_cuda import provider_settings

Device = Literal["cpu", "cuda"]

# As onnxruntime spells them; the first of each is the runtime's.
SETTINGS = {
    "cudnn_conv_algo_search": ("HEURISTIC", "EXHAUSTIVE", "DEFAULT"),
    "prefer_nhwc": ("0", "1"),
    "enable_cuda_graph": ("0", "1"),
}


def time_calls(model: Path, batch_size: int, device: Device, chosen: dict[str, str]) -> None:
    """The measured process: time calls of the model with these settings, copies included."""
    options: Any = session_options(SessionConfig(device, 1))
    if device == "cuda":
        require_cuda()
        session = create_session(
            model, options, CUDA_PROVIDER, provider_settings(CudaOptions(), captured=False) | chosen
        )
    else:
        session = create_session(model, options, "CPUExecutionProvider")
    taken = session.get_inputs()[0]
    batch = image_like_batch((batch_size, *taken.shape[1:]), "uint8" if "uint8" in taken.type else "float32")
    bound = BoundSession(session, device)
    serve(lambda: bound.run(batch), device=device)


@click.command()
@click.argument("model", type=click.Path(exists=True, path_type=Path))
@click.option("--batch-size", default=64, show_default=True)
@click.option("--device", type=click.Choice(["cpu", "cuda"]), default="cuda", show_default=True)
@click.option("--chosen", nargs=len(SETTINGS), hidden=True, help="Of the measured process.")
def main(model: Path, batch_size: int, device: Device, chosen: tuple[str, ...]) -> None:
    if chosen:
        time_calls(model, batch_size, device, dict(zip(SETTINGS, chosen, strict=True)))
        return
    command = (sys.executable, __file__, str(model), "--batch-size", str(batch_size), "--device", device)
    subjects = {" ".join(choice): (*command, "--chosen", *choice) for choice in product(*SETTINGS.values())}
    timings = measure(subjects, rounds=7, seconds=0.5)
    baseline = next(iter(subjects))
    click.echo(f"{', '.join(SETTINGS)}: {baseline}: {timings.latency(baseline) * 1e3:.2f} ms")
    for name in list(subjects)[1:]:
        click.echo(Figure.of_rounds(name, timings.ratios(name, baseline), "").line())


if __name__ == "__main__":
    main()
