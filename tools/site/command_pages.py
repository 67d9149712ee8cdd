"""The reference of commands: pages made from the usage, the help texts and the options of ``reid`` itself.

The options come from click's own records of help, so a page says what ``reid COMMAND --help`` says. (mkdocs-click has
no arguments, and shows options without a default as ``Sentinel.UNSET``.)
"""

import inspect
import re
from collections.abc import Iterator

import click

from reid_toolkit.cli.app import COMMANDS, reid

PAGES = {
    "footage": ("Footage and datasets", ("ingest", "frigate", "tracks", "dataset")),
    "training": ("Training", ("train", "report", "distill", "evaluate")),
    "models": ("Models", ("export", "adopt", "models", "model")),
    "search": ("Search", ("enroll", "search", "calibrate", "embed")),
    "gallery": ("Galleries", ("gallery",)),
    "people": ("People", ("people",)),
    "live": ("Cameras while they run", ("watch",)),
    "service": ("The service", ("serve",)),
    "start": ("The demo and the machine", ("demo", "doctor")),
}
"""Name of a page: its title, and the commands on it. Each command is on one page."""

FOLDER = "reference/commands"
WIDTH = 88
"""Characters in a line of usage."""


def pages() -> dict[str, str]:
    """The Markdown of each page by its address."""
    placed = [name for _, names in PAGES.values() for name in names]
    if sorted(placed) != sorted(COMMANDS):
        different = sorted(set(placed) ^ set(COMMANDS))
        raise SystemExit(f"tools/site/command_pages.py: PAGES and the commands of reid differ in {different}")
    made = {f"{FOLDER}/{page}.md": page_of(title, names) for page, (title, names) in PAGES.items()}
    made[f"{FOLDER}/index.md"] = index()
    return made


def index() -> str:
    """All commands with one sentence each."""
    lines = [
        "# Commands",
        "",
        "Find a command, and what it does. `reid COMMAND --help` prints the same as these pages.",
        "",
        "The exit status is 0 if the work is done, 1 for an error, 2 for wrong usage, and 130 after an interruption. "
        "Results go to stdout, progress and errors to stderr.",
    ]
    for page, (title, names) in PAGES.items():
        lines += ["", f"## {title}", "", "| command | what it does |", "|---|---|"]
        for name in names:
            for context in contexts(name):
                path = context.command_path
                said = escaped(paragraphs(context.command)[0])
                lines.append(f"| [`{path}`]({page}.md#{anchor(path)}) | {said} |")
    return "\n".join(lines) + "\n"


def page_of(title: str, names: tuple[str, ...]) -> str:
    """One page: the commands ``names``, and those below them."""
    listed = [f"`reid {name}`" for name in names]
    lead = f"All arguments and options of {', '.join(listed[:-1])}{' and ' if listed[1:] else ''}{listed[-1]}."
    sections = [section(context) for name in names for context in contexts(name)]
    return "\n\n".join([f"# {title}", lead, *sections]) + "\n"


def contexts(name: str) -> Iterator[click.Context]:
    """A command of ``reid``, and the commands below it in the order of their names."""
    command = reid.get_command(click.Context(reid), name)
    assert command is not None, name
    yield from below(click.Context(command, info_name=name, parent=click.Context(reid, info_name="reid")))


def below(context: click.Context) -> Iterator[click.Context]:
    """The command itself, then its commands."""
    yield context
    if isinstance(context.command, click.Group):
        for name in context.command.list_commands(context):
            command = context.command.get_command(context, name)
            assert command is not None, name
            if not command.hidden:
                yield from below(click.Context(command, info_name=name, parent=context))


def section(context: click.Context) -> str:
    """What ``--help`` says of one command, as Markdown."""
    path = context.command_path
    depth = path.count(" ") + 1
    parts = [f"{'#' * depth} {path} {{ #{anchor(path)} data-toc-label='{context.info_name}' }}"]
    parts += [f"```text\n{usage(context)}\n```"]
    parts += [escaped(paragraph) for paragraph in paragraphs(context.command)]
    if isinstance(context.command, click.Group):
        rows = [
            f"| [`{inner.command_path}`](#{anchor(inner.command_path)}) | {escaped(paragraphs(inner.command)[0])} |"
            for inner in list(below(context))[1:]
            if inner.parent is context
        ]
        parts.append("\n".join(["| command | what it does |", "|---|---|", *rows]))
    rows = [f"| {code(names)} | {escaped(text)} |" for names, text in options(context)]
    if rows:
        parts.append("\n".join(["| option | what it does |", "|---|---|", *rows]))
    return "\n\n".join(parts)


def usage(context: click.Context) -> str:
    formatter = click.HelpFormatter(width=WIDTH)
    formatter.write_usage(context.command_path, " ".join(context.command.collect_usage_pieces(context)), prefix="")
    return inspect.cleandoc(formatter.getvalue().strip())


def options(context: click.Context) -> list[tuple[str, str]]:
    """(names, what it does) of each option but ``--help``, with default and range as ``--help`` prints them."""
    records = [
        option.get_help_record(context)
        for option in context.command.get_params(context)
        if isinstance(option, click.Option) and "--help" not in option.opts
    ]
    return [record for record in records if record is not None]


def paragraphs(command: click.Command) -> list[str]:
    """The help text, without its line breaks."""
    return [" ".join(text.split()) for text in inspect.cleandoc(command.help or "").split("\n\n")]


def anchor(path: str) -> str:
    return path.replace(" ", "-")


def code(text: str) -> str:
    return "`" + text.replace("|", "\\|") + "`"


def escaped(text: str) -> str:
    """Plain text in which only `code` has a meaning, for a paragraph or a cell of a table. Options become code."""

    def marked(found: re.Match[str]) -> str:
        return f"`{found[0]}`" if len(found[0]) > 1 else f"\\{found[0]}"

    parts = re.split(r"(`[^`]*`)", text)
    parts[::2] = [re.sub(r"(?<![\w-])--[a-z][a-z0-9-]*|[\\*<\[\]]|\b_|_\b", marked, part) for part in parts[::2]]
    return "".join(parts).replace("|", "\\|")
