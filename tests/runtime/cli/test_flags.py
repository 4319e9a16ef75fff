from __future__ import annotations

import click
import pytest

from vgg_cli.flags import with_flags

COMMAND = click.Command(
    "test",
    params=[
        click.Option(["-o", "--output"]),
        click.Option(["--model"]),
        click.Option(["--quantize"], multiple=True),
        click.Option(["--format", "formats"], multiple=True),
        click.Option(["--min-snr"]),
        click.Option(["--input-size"]),
        click.Option(["--samples-size"]),
        click.Option(["--no-verify", "verify"], flag_value=False, default=True),
    ],
)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("`min_snr` must be finite", "--min-snr must be finite"),
        ("lower `min_snr` or leave out `model`.", "lower --min-snr or leave out --model."),
        ("`min_snr=23`, so that", "--min-snr 23, so that"),
        ("another path to `output`", "another path to --output"),
        ("`model=NAME`", "--model NAME"),
        ("`model='vgg16'`", "--model vgg16"),
        ("`model='net:Net(classes=10)'`", "--model 'net:Net(classes=10)'"),
        ("`quantize=['static', 'fp16']`", "--quantize static --quantize fp16"),
        ('`formats=["onnx"]`', "--format onnx"),
        ("`input_size=(64, 48)` or `input_size=(H, W)`", "--input-size 64x48 or --input-size HxW"),
        ("`samples.size=N`", "--samples-size N"),
        ("`verify=False`", "--no-verify"),
    ],
)
def test_parameter_of_the_command_becomes_its_flag(text: str, told: str) -> None:
    assert with_flags(text, COMMAND) == told
    assert with_flags(text, click.Group("group", commands=[COMMAND])) == told


@pytest.mark.parametrize("text", ["`batch=N`", "`samples.folder`", "`min_snr=a b`", "min_snr", "`vgg-bench`", "``"])
def test_text_without_parameter_of_the_command_stays(text: str) -> None:
    assert with_flags(text, COMMAND) == text
