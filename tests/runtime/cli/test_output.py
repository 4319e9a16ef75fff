from __future__ import annotations

import io
import json
import sys

import pytest

from vgg_cli import output


@pytest.mark.parametrize("encoding", ["utf-8", "ascii", "cp1252"])
def test_json_is_utf8_whatever_the_terminal_takes(monkeypatch: pytest.MonkeyPatch, encoding: str) -> None:
    value = {"labels": ["é", "绿", "🐈", "\udcff", "a\nb"]}
    stdout = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    monkeypatch.setattr(sys, "stdout", stdout)
    output.echo_json(value)
    written = stdout.buffer.getvalue()  # type: ignore[attr-defined]
    assert json.loads(written.decode("utf-8")) == value
    assert "绿".encode() in written


def test_json_escapes_what_would_control_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    value = {"la\x1bbel": "a\x7f\x9b31m\u202eb"}
    output.echo_json(value)
    printed = capsys.readouterr().out
    assert json.loads(printed) == value
    assert r"\u001b" in printed
    assert r"a\u007f\u009b31m\u202eb" in printed


def test_json_has_no_nan() -> None:
    with pytest.raises(ValueError, match="JSON"):
        output.echo_json({"probability": float("nan")})


def test_control_characters_are_printed_as_escapes() -> None:
    assert output.printable("\u202eabc\u2066\u200f\u2028\x85") == r"\u202eabc\u2066\u200f\u2028\x85"
    assert output.printable("a\x1b[2Jb\n\t\x7f\x9b é 绿 👩‍🚀") == r"a\x1b[2Jb\n\t\x7f\x9b é 绿 👩‍🚀"


def test_echo_prints_each_text_as_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    output.echo("one", "t\nwo", "\x1b]0;title\x07")
    output.echo("thr\ree", err=True)
    assert capsys.readouterr() == ("one\nt\\nwo\n\\x1b]0;title\\x07\n", "thr\\ree\n")
