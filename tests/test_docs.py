"""Docs that cannot lie: generated pages, links, examples, doctests."""

import doctest
import importlib
import pkgutil
import re
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

import q8tool.numerics
from q8tool.cli import cli

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])
COMMANDS = list(cli.modules)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_help_ends_with_an_example(name: str) -> None:
    command = cli.get_command(click.Context(cli), name)
    assert command is not None
    assert command.help is not None
    assert f"q8tool {name}" in command.help.split("Example:")[1]


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_is_explained(name: str) -> None:
    command = cli.get_command(click.Context(cli), name)
    assert command is not None
    silent = [
        p.name for p in command.params if isinstance(p, click.Option) and not (p.help or p.hidden)
    ]
    assert not silent


@pytest.mark.parametrize("name", COMMANDS)
def test_cli_page_is_what_the_program_prints(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    printed = CliRunner().invoke(cli, [name, "--help"], prog_name="q8tool").output.rstrip()
    page = (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")
    assert printed in page, "run `make docs`"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    targets = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", text)
    missing = [target for target in targets if not (page.parent / target).exists()]
    assert not missing


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_named_files_exist(page: Path) -> None:
    """Paths in backticks that look like our own source files."""
    text = page.read_text(encoding="utf-8")
    named = set(re.findall(r"`((?:src|csrc|tests|docs|bench|tools)/[\w./]+\.\w+)`", text))
    assert not [name for name in named if not (ROOT / name).exists()]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_in_the_text_exist(page: Path) -> None:
    used = set(re.findall(r"^\$ q8tool ([a-z-]+)", page.read_text(encoding="utf-8"), re.MULTILINE))
    assert used <= {*COMMANDS, "--help", "--version"}


def test_examples_in_numbers_run() -> None:
    failed, tried = doctest.testfile(str(ROOT / "docs" / "numerics.md"), module_relative=False)
    assert tried > 0
    assert failed == 0


def test_examples_in_numerics_run() -> None:
    for module in pkgutil.iter_modules(q8tool.numerics.__path__, "q8tool.numerics."):
        failed, _ = doctest.testmod(importlib.import_module(module.name))
        assert failed == 0, module.name
