"""Small checkpoints in every container, changed at random, and held against readers independent of the project."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator
from pathlib import Path
from random import Random

import torch
from fork_server import Answer, ForkServer
from mutations import changed
from safetensors.torch import save_file
from torch import nn

__all__ = ["mutated_archive", "mutated_checkpoints", "save_originals"]


def mutated_checkpoints(server: ForkServer, folder: Path, count: int, seed: int) -> Iterator[tuple[str, Answer]]:
    """Read ``count`` changed checkpoints.

    "different" is one whose weights are neither those before the change nor those that an independent reader sees.
    """
    originals = save_originals(folder)
    digests = [server.call("read_independently", original).detail for original in originals]
    for number in range(count):
        original, digest = originals[number % len(originals)], digests[number % len(originals)]
        path = folder / f"changed{original.suffix}"
        path.write_bytes(mutated_archive(original.read_bytes(), Random(f"{seed} {number}")))  # noqa: S311 - repeatable
        answer = server.call("read", path)
        if answer.outcome == "read" and answer.detail not in (digest, server.call("read_independently", path).detail):
            answer = Answer("different", "")
        yield f"{original.name} {number}", answer


def save_originals(folder: Path) -> list[Path]:
    """Save the same small network in every container and layout, and return the paths."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.ReLU(), nn.Flatten(), nn.Linear(72, 3)).eval()
    state = net.state_dict()
    half = {key: value.half() if value.is_floating_point() else value for key, value in state.items()}
    training = {"epoch": 3, "state_dict": half, "loss": [0.5, 0.25], "tags": ("a", None, True)}
    names = ["state.pth", "training.pth", "module.pth", "legacy.pth", "script.pt", "half.safetensors"]
    paths = [folder / name for name in names]
    torch.save(state, paths[0])
    torch.save(training, paths[1])
    torch.save(net, paths[2])
    torch.save(training, paths[3], _use_new_zipfile_serialization=False)
    torch.jit.script(net).save(str(paths[4]))
    save_file(half, paths[5])
    return paths


def mutated_archive(content: bytes, random: Random) -> bytes:
    """The file with one to three changes: of its bytes, or of the entries of its archive, with right CRCs."""
    for _ in range(random.randint(1, 3)):
        is_archive = content.startswith(b"PK")
        content = (_with_changed_entry if is_archive and random.random() < 0.6 else changed)(content, random)
    return content


def _with_changed_entry(content: bytes, random: Random) -> bytes:
    """The archive with one entry changed, renamed, taken out or swapped with another."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            entries = [[name, archive.read(name)] for name in archive.namelist()]
    except Exception:  # changed before
        return changed(content, random)
    if not entries:
        return content
    entry, other = random.choice(entries), random.choice(entries)
    action = random.randrange(6)
    if action == 0:
        entries.remove(entry)
    elif action == 1:
        entry[0] = random.choice([other[0], entry[0] + "x", "x/" + str(entry[0])])
    elif action == 2:
        entry[1], other[1] = other[1], entry[1]
    else:
        contents = [each for each in entries if str(each[0]).endswith((".pkl", ".py"))]
        entry = random.choice(contents) if contents and action > 3 else entry
        entry[1] = changed(bytes(entry[1]), random)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, data in entries:
            archive.writestr(str(name), data)
    return buffer.getvalue()
