from __future__ import annotations

import pytest

from vgg_runtime._internal.validation import counted


@pytest.mark.parametrize(
    ("count", "noun", "text"),
    [(0, "image", "0 images"), (1, "channel", "1 channel"), (1, "class", "1 class"), (10, "class", "10 classes")],
)
def test_a_noun_has_the_number_of_its_count(count: int, noun: str, text: str) -> None:
    assert counted(count, noun) == text
