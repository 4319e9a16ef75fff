from __future__ import annotations

from collections.abc import Iterable

import pytest

from vgg_runtime._internal.validation import as_words, counted


@pytest.mark.parametrize(
    ("count", "noun", "text"),
    [(0, "image", "0 images"), (1, "channel", "1 channel"), (1, "class", "1 class"), (10, "class", "10 classes")],
)
def test_a_noun_has_the_number_of_its_count(count: int, noun: str, text: str) -> None:
    assert counted(count, noun) == text


@pytest.mark.parametrize("words", ["static", ["static"], ("static",), {"static": 1}.keys(), iter(["static"])])
def test_one_word_and_a_list_of_one_are_the_same(words: Iterable[str]) -> None:
    assert as_words(words) == ("static",)
