from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import pytest

from vgg_cli import running
from vgg_runtime import errors
from vgg_runtime.errors import VggDeployError

SCRIPT = """
import click
from vgg_cli import output, running
running.run_command(click.Command("test", callback=lambda: {}))
"""


def run(monkeypatch: pytest.MonkeyPatch, body: Any, *arguments: str) -> Any:
    """Exit code of a command with the given body."""
    monkeypatch.setattr(sys, "argv", ["test", *arguments])
    with pytest.raises(SystemExit) as leaving:
        running.run_command(click.Command("test", callback=body))
    return leaving.value.code


def raising(error: BaseException) -> Any:
    def body() -> None:
        raise error

    return body


@pytest.mark.parametrize("name", errors.__all__)
def test_every_error_becomes_its_message_and_exit_code(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    error: VggDeployError = getattr(errors, name)("it broke", hint="mend it")
    assert run(monkeypatch, raising(error)) == error.exit_code
    assert capsys.readouterr() == ("", "error: it broke\n       mend it\n")


@pytest.mark.parametrize(("result", "code"), [(None, 0), (0, 0), (3, 3)])
def test_a_number_that_is_returned_is_the_exit_code(
    monkeypatch: pytest.MonkeyPatch, result: int | None, code: int
) -> None:
    assert run(monkeypatch, lambda: result) == code


@pytest.mark.parametrize(("arguments", "code"), [(["--help"], 0), (["--nonsense"], 2), (["surplus"], 2)])
def test_usage_is_clicks(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: list[str], code: int
) -> None:
    assert run(monkeypatch, lambda: None, *arguments) == code
    assert "Usage: " in "".join(capsys.readouterr())


def test_a_fault_of_ours_shows_where_it_is(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(monkeypatch, raising(ZeroDivisionError("oh"))) == 1
    message = capsys.readouterr().err
    assert "Traceback" in message
    assert "internal error in vgg-deploy" in message


@pytest.mark.parametrize(
    "body",
    [
        "raise errors.BundleError('no \\x1b[2J\\u202e', hint='mend \\x1b[2J\\u202e')",
        "raise click.UsageError('no \\x1b[2J\\u202e')",
        "raise ZeroDivisionError('no \\x1b[2J\\u202e')",
        "warnings.warn('no \\x1b[2J\\u202e')",
    ],
    ids=["error", "usage", "traceback", "warning"],
)
def test_no_message_controls_the_terminal(body: str) -> None:
    script = "import warnings\nfrom vgg_runtime import errors\ndef body():\n    " + body
    done = subprocess.run([sys.executable, "-c", script + SCRIPT.format("body()")], capture_output=True, text=True)
    assert r"no \x1b[2J\u202e" in done.stderr
    assert not {"\x1b", "\u202e"} & set(done.stderr)


def test_an_argument_in_a_usage_error_is_printable(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, lambda: None, "--x\x1b[2J") == 2
    assert r"--x\x1b[2J" in capsys.readouterr().err


def test_an_interruption_is_no_fault(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(monkeypatch, raising(KeyboardInterrupt())) == 130
    assert "interrupted" in capsys.readouterr().err


@pytest.mark.skipif(sys.platform == "win32", reason="Windows reports a closed pipe in another way")
@pytest.mark.parametrize(
    "body",
    [
        "output.echo_json([1])",
        "click.echo('hello')",
        "print('hello')",
        "print('hello', flush=True)",
        "__import__('rich.console').console.Console().print('hello')",
    ],
)
def test_a_reader_that_leaves_ends_the_command_quietly(body: str) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    command = [sys.executable, "-c", SCRIPT.format(body)]
    # Unbuffered, print would fail at once, and what is left for the last flush would never be tried.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    done = subprocess.run(command, stdout=writing, stderr=subprocess.PIPE, text=True, env=environment)
    os.close(writing)
    assert (done.returncode, done.stderr) == (141, "")


def test_a_file_name_that_is_no_text_can_be_printed() -> None:
    command = [sys.executable, "-c", SCRIPT.format(r"click.echo('a\udcff\u7eff')")]
    done = subprocess.run(command, capture_output=True, env=os.environ | {"PYTHONIOENCODING": "latin-1"})
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.strip() == rb"a\udcff\u7eff"


END_BY_SIGNAL = """
import os, signal
def body():
    try:
        signal.raise_signal(signal.{name})
    finally:
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGHUP)
        os.rmdir("half")
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signals")
@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP"])
def test_half_done_work_is_undone_at_a_signal(tmp_path: Path, name: str) -> None:
    (tmp_path / "half").mkdir()
    script = END_BY_SIGNAL.format(name=name) + SCRIPT.format("body()")
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (128 + signal.Signals[name], "", "")
    assert not list(tmp_path.iterdir())


SWALLOWED = """
import signal, time
from vgg_cli import output, running
def body():
    try:
        signal.raise_signal(signal.SIGTERM)
    except:
        pass
    signal.raise_signal(signal.SIGTERM)
    print("so far", flush=True)
    now = time.monotonic()
    running.time.monotonic = lambda: now + 60
    signal.raise_signal(signal.SIGTERM)
    print("went on")
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signals")
def test_a_signal_ends_what_kept_the_first_one_to_itself() -> None:
    done = subprocess.run([sys.executable, "-c", SWALLOWED + SCRIPT.format("body()")], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (-signal.SIGTERM, "so far\n", "")


CODE_OF_A_USER = """
import signal
def body():
    try:
        signal.raise_signal(signal.SIGTERM)
    except (Exception, SystemExit):
        pass
    print("went on")
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signals")
def test_signal_is_no_exit_of_the_users_own_code() -> None:
    done = subprocess.run(
        [sys.executable, "-c", CODE_OF_A_USER + SCRIPT.format("body()")], capture_output=True, text=True
    )
    assert (done.returncode, done.stdout, done.stderr) == (128 + signal.SIGTERM, "", "")


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no nohup")
def test_a_signal_that_was_ignored_stays_so() -> None:
    script = SCRIPT.format("[signal.raise_signal(signal.SIGHUP), click.echo('still here')]")
    ignoring = "import signal\nsignal.signal(signal.SIGHUP, signal.SIG_IGN)\n" + script
    done = subprocess.run([sys.executable, "-c", ignoring], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("still here\n", "")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="this system has no device that is always full")
@pytest.mark.parametrize("body", ["click.echo('hello')", "output.echo_json([1] * 100_000)"])
def test_output_that_cannot_be_written_is_told(body: str) -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-c", SCRIPT.format(body)], stdout=full, stderr=subprocess.PIPE, text=True
        )
    assert done.returncode == 5
    assert done.stderr == "error: the output cannot be written: No space left on device.\n"
