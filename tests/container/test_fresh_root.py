"""The steps of the edge image in a fresh Debian, and what it does then: ``make test-container``.

No container engine is needed: the root is unpacked by mmdebstrap, and entered as an engine would do it, in namespaces
of its own, without a network; to predict, as nobody, with nothing that can be written to.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from vgg_runtime.bundle.directory import Bundle

ROOT = Path(__file__).parents[2]
BUILD = ROOT / "build" / "container"
EXAMPLE = ROOT / "examples" / "container"
DOCKERFILE = (EXAMPLE / "Dockerfile").read_text("utf-8")

pytestmark = [
    pytest.mark.container,
    pytest.mark.skipif(
        not (BUILD / "ready").is_file(), reason="no fresh Debian in build/container: make test-container"
    ),
]

# $0 is the root, the rest the command; ENVIRONMENT holds assignments.
ENTER = """
mount -t proc proc "$0/proc" && mount --rbind /dev "$0/dev" &&
exec chroot $OPTIONS "$0" /usr/bin/env -i PATH=/usr/bin:/bin $ENVIRONMENT "$@"
"""
READ_ONLY = 'mount --bind "$0" "$0" && mount -o remount,bind,ro "$0" &&'

Done = subprocess.CompletedProcess[str]
Run = Callable[..., Done]


@pytest.fixture(scope="module")
def root(whole_bundle: Bundle, example: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the fresh root in which install.sh has run."""
    root = tmp_path_factory.mktemp("image") / "root"
    subprocess.run(["/bin/cp", "-a", BUILD / "root", root], check=True)
    shutil.copytree(BUILD / "wheelhouse", root / "wheelhouse")
    shutil.copytree(whole_bundle.directory, root / "bundle")
    shutil.copytree(example.images, root / "photos")
    shutil.copyfile(EXAMPLE / "install.sh", root / "install.sh")
    done = enter(root, ENTER, "sh", "/install.sh")
    assert done.returncode == 0, done.stderr
    return root


def enter(root: Path, script: str, *command: object, options: str = "", environment: str = "") -> Done:
    unshare = ["/usr/bin/unshare", "--mount", "--net", "--pid", "--fork", "sh", "-c", script, root]
    variables = os.environ | {"OPTIONS": options, "ENVIRONMENT": environment}
    return subprocess.run(
        list(map(str, [*unshare, *command])),
        env=variables,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def run(root: Path) -> Run:
    """Run a command as the image does: its user and environment, a read-only root, no network."""
    (environment,) = re.findall("^ENV (.*)$", DOCKERFILE, re.MULTILINE)
    return partial(enter, root, READ_ONLY + ENTER, options="--userspec=65534:65534", environment=environment)


def test_dockerfile_runs_these_steps_and_this_user() -> None:
    assert "RUN sh /install.sh" in DOCKERFILE
    assert "USER 65534:65534" in DOCKERFILE


@pytest.mark.parametrize("instruction", ["ENTRYPOINT", "HEALTHCHECK"])
def test_self_test_passes_as_nobody_in_a_read_only_root(run: Run, instruction: str) -> None:
    words = {name: json.loads(text) for name, text in re.findall(r"^(\w+).*?(\[.*\])$", DOCKERFILE, re.MULTILINE)}
    done = run(*words[instruction], *(words["CMD"] if instruction == "ENTRYPOINT" else ()))
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.count("on 4 golden samples") == 6


def test_predictions_are_those_of_this_machine(run: Run, example: Any, whole_bundle: Bundle) -> None:
    arguments = ["--top-k", "1", "--variant", "onnx-int8-static", "--device", "cpu"]
    done = run("/opt/vgg/bin/vgg-run", "predict", "/bundle", "/photos", *arguments)
    assert done.returncode == 0, done.stderr
    here = [Path(sys.executable).with_name("vgg-run"), "predict", whole_bundle.directory, example.images, *arguments]
    expected = subprocess.check_output(list(map(str, here)), text=True)
    assert done.stdout == expected.replace(str(example.images), "/photos")


def test_root_cannot_be_written_to(run: Run) -> None:
    assert "Read-only file system" in run("touch", "/bundle/file").stderr
    assert run("id", "-u").stdout == "65534\n"


def test_environment_and_bundle_stay_small(root: Path) -> None:
    """Half of what the image may have: the other half is its base's."""
    assert size(root / "opt" / "vgg") + size(root / "bundle") < 125e6


def size(folder: Path) -> int:
    return sum(file.lstat().st_size for file in folder.rglob("*"))
