"""The options of tools/, read from their source: to import a tool takes seconds, and some need packages of extras."""

import ast
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

TOOLS = Path(__file__).parent.parent / "tools"
KEPT = ("nargs", "required", "action", "choices")
"""What decides whether a command is understood."""


class Refused(Exception):  # noqa: N818
    """The tool would end with status 2."""


class _Parser(ArgumentParser):
    def error(self, message: str) -> Any:
        raise Refused(message)


def literal(node: ast.expr) -> Any:
    """A constant or a tuple of constants; None if it must be computed."""
    try:
        return ast.literal_eval(node)
    except ValueError:
        return None


def parser_of(tool: str) -> ArgumentParser:
    """A parser with the options of a tool, without their types."""
    made: dict[str, Any] = {}
    tree = ast.parse((TOOLS / tool).read_text(encoding="utf-8"))
    lines = [node for node in ast.walk(tree) if isinstance(node, ast.Assign | ast.Expr | ast.Return)]
    for node in sorted(lines, key=lambda node: node.lineno):
        if isinstance(node.value, ast.Call):
            found = read(node.value, made)
            if found is not None and isinstance(node, ast.Assign):
                made[ast.unparse(node.targets[0])] = found
    return made["parser"]


def read(call: ast.Call, made: dict[str, Any]) -> Any:
    """What a call makes of a parser, or adds to one."""
    owner, _, name = ast.unparse(call.func).rpartition(".")
    how = {key.arg: literal(key.value) for key in call.keywords if key.arg}
    how = {key: value for key, value in how.items() if key in KEPT and value is not None}
    if name == "ArgumentParser":
        return _Parser(add_help=False)
    if name in ("arguments", "add_trial_options"):
        return shared(name, call, made)
    if owner in made and name == "add_mutually_exclusive_group":
        return made[owner].add_mutually_exclusive_group(**how)
    if owner in made and name == "add_argument":
        made[owner].add_argument(*map(literal, call.args), **how)
    return None


def shared(name: str, call: ast.Call, made: dict[str, Any]) -> Any:
    """What a function of tools/study.py adds."""
    trains = any(key.arg == "trains" for key in call.keywords)
    body = ast.parse((TOOLS / "study.py").read_text(encoding="utf-8")).body
    (function,) = (node for node in body if isinstance(node, ast.FunctionDef) and node.name == name)
    here = {"parser": _Parser(add_help=False) if name == "arguments" else made[ast.unparse(call.args[0])]}
    for node in function.body:
        wanted = not isinstance(node, ast.If) or trains == (ast.unparse(node.test) == "trains")
        for one in ast.walk(node) if wanted else ():
            if isinstance(one, ast.Call) and ast.unparse(one.func) == "parser.add_argument":
                read(one, here)
    return here["parser"]
