"""Our docstrings in the form that mkdocstrings shows: it knows Markdown, and one name for each description."""

import re
from typing import Any

import griffe

ROLE = re.compile(r":(?:attr|class|data|exc|func|meth|mod):`~?([^`]+)`")
LITERAL = re.compile(r"``([^`\n]+)``")
TOGETHER = re.compile(r"^( +)((?:\w+, )+\w+): (.*)$", re.MULTILINE)


def as_markdown(text: str) -> str:
    """Sphinx roles (``:class:`Record```) and double backticks become code, and ``a, b: text`` a line for each name."""
    text = TOGETHER.sub(lambda line: "\n".join(f"{line[1]}{name}: {line[3]}" for name in line[2].split(", ")), text)
    return LITERAL.sub(r"`\1`", ROLE.sub(r"`\1`", text))


class Docstrings(griffe.Extension):
    """Rewrites every docstring before it is read."""

    def on_instance(self, *, obj: griffe.Object, **_: Any) -> None:
        if obj.docstring is not None:
            obj.docstring.value = as_markdown(obj.docstring.value)
