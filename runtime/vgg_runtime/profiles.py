"""What a session is tuned for: a handful of options by name, in one table."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["PROFILES", "Profile", "ProfileName"]

ProfileName = Literal["latency", "throughput", "low-memory"]


@dataclass(frozen=True)
class Profile:
    """Options of an engine's session on the CPU.

    Attributes:
        packs_floats: whether float weights are copied into the layout of the matrix kernels when the model is loaded.
            8-bit and 4-bit weights always are: packing them anew at every call takes a VGG-16 4 to 10 times as long.
        packs_in_parallel: whether all threads pack, each another weight.
        keeps_buffers: whether memory for activations is kept for the next call.
        spins: whether idle threads wait for work in a loop for a while before they sleep.
    """

    packs_floats: bool
    packs_in_parallel: bool
    keeps_buffers: bool
    spins: bool


# Measured on a VGG-16, 2 threads of an x86-64 with AVX-512 VNNI, ONNX Runtime 1.31.
PROFILES: dict[ProfileName, Profile] = {
    "latency": Profile(
        # One image takes as long without (80 ms), and the weights stay the mapped file: loading takes 0.1 s instead of
        # 0.5 s, and memory peaks 290 MiB lower. Two or eight images at once take 1 to 3 % longer. In a network of
        # nothing but fully connected layers two take 2 to 3 times as long, and eight 1.7 times: still a third of the
        # time for each that a single one takes.
        packs_floats=False,
        # Loads int8 weights in 0.09 s instead of 0.15 s, but memory peaks 70 MiB higher.
        packs_in_parallel=False,
        # Without, 18 MiB less for one image, but every call asks the system for memory anew.
        keeps_buffers=True,
        # Waking threads that sleep costs up to 2 % of 22 ms. Off by itself on a quota, which spinning uses up.
        spins=True,
    ),
    "throughput": Profile(
        packs_floats=True,
        packs_in_parallel=True,
        keeps_buffers=True,
        # Between two batches the cores have images to decode.
        spins=False,
    ),
    "low-memory": Profile(
        packs_floats=False,
        packs_in_parallel=False,
        # What a call needed goes back to the system: 190 MiB after a batch of eight.
        keeps_buffers=False,
        # Where memory is short, cores are few and have others to serve.
        spins=False,
    ),
}
