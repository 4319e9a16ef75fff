"""Docstrings name things by Sphinx's roles; the pages show the name alone: ``:meth:`~a.b.c.d` `` becomes ``d``."""

from __future__ import annotations

import re
from typing import Any

ROLE = re.compile(r":(?:attr|class|data|func|meth|mod):<code>(?:~[\w.]*\.)?([^<]*)</code>")


def on_page_content(html: str, **_: Any) -> str:
    return ROLE.sub(r"<code>\1</code>", html)
