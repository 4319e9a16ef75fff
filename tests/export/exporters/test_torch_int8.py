from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from vgg_export.exporters import torch_int8 as exporter
from vgg_export.exporters.torch_int8 import torch_linear_int8_dynamic
from vgg_runtime.errors import CalibrationError, MissingCapabilityError


def test_linear_layers_hold_int8_and_the_original_is_untouched(small_network) -> None:
    network = small_network()
    x = torch.randn(2, 1, 8, 8)
    with torch.no_grad():
        expected = network(x)
        outputs = torch_linear_int8_dynamic(network)(x)
        torch.testing.assert_close(network(x), expected, rtol=0, atol=0)
    quantized = torch_linear_int8_dynamic(network)[5]
    assert quantized.weight().dtype == torch.qint8
    assert isinstance(network[5], nn.Linear)
    error = (outputs - expected).norm() / expected.norm()
    assert 0 < error < 0.03


def test_convolutions_stay_as_they_are(small_network) -> None:
    network = small_network()
    torch.testing.assert_close(torch_linear_int8_dynamic(network)[0].weight, network[0].weight, rtol=0, atol=0)


def test_a_network_without_linear_layers_is_refused() -> None:
    with pytest.raises(CalibrationError, match="has no Linear layer") as refused:
        torch_linear_int8_dynamic(nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten()))
    assert "`quantize=['static']`" in refused.value.hint


def test_a_torch_that_has_lost_it_is_named(small_network, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exporter, "_HOMES", ("torch.no_such_place", "torch.nn"))
    with pytest.raises(MissingCapabilityError, match="no longer has quantize_dynamic"):
        torch_linear_int8_dynamic(small_network())


def test_a_torch_without_an_engine_is_named(small_network, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends, "quantized", SimpleNamespace(engine="none"))
    with pytest.raises(MissingCapabilityError, match="no engine"):
        torch_linear_int8_dynamic(small_network())
