from __future__ import annotations

import re

import pytest

from vgg_runtime import errors
from vgg_runtime.errors import VggDeployError


def drawn_tree() -> dict[str, tuple[str | None, int]]:
    """Parent and exit code of each error, as the module's docstring draws them."""
    tree: dict[str, tuple[str | None, int]] = {}
    above: list[tuple[int, str]] = []
    for line in (errors.__doc__ or "").splitlines():
        match = re.match(r"([ │├└─]*)(\w+Error)\b\s*(\d)?", line)
        if not match:
            continue
        depth, name, code = len(match[1]), match[2], match[3]
        while above and above[-1][0] >= depth:
            above.pop()
        parent = above[-1][1] if above else None
        tree[name] = (parent, int(code) if code else tree[str(parent)][1])
        above.append((depth, name))
    return tree


def test_the_errors_are_those_of_the_drawn_tree() -> None:
    actual = {name: getattr(errors, name) for name in errors.__all__}
    bases = {name: cls.__base__.__name__ if cls is not VggDeployError else None for name, cls in actual.items()}
    assert {name: (bases[name], cls.exit_code) for name, cls in actual.items()} == drawn_tree()


def test_every_exit_code_of_a_failure_is_in_use() -> None:
    assert {code for _, code in drawn_tree().values()} == {1, 2, 3, 4, 5}


@pytest.mark.parametrize(("hint", "text"), [("", "it broke"), ("mend it", "it broke\nmend it")])
def test_the_hint_follows_the_message_on_a_line_of_its_own(hint: str, text: str) -> None:
    error = VggDeployError("it broke", hint=hint)
    assert (str(error), error.message, error.hint) == (text, "it broke", hint)
