"""What the user sees: tables that fit, amounts, progress only on a terminal."""

import io

import pytest

from q8tool.cli import report


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 bytes"), (999, "999 bytes"), (1000, "1.0 kB"), (10_400_000, "10.4 MB"),
     (1.5e9, "1.5 GB"), (2.5e12, "2500.0 GB")],
)  # fmt: skip
def test_amounts(count: int, text: str) -> None:
    assert report.amount(int(count)) == text


def test_long_names_lose_their_middle() -> None:
    assert report.shortened("features.0.conv.weight", 11) == "featu…eight"
    assert report.shortened("short", 5) == "short"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


ROWS = [("a" * 100 + "end", 1.5, 1234567), ("b", -0.25, 3)]


def test_a_table_fits_the_terminal_one_line_per_row(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setenv("COLUMNS", "60")
    monkeypatch.setenv("TERM", "dumb")
    monkeypatch.setattr("sys.stdout", terminal)
    report.table(["tensor", "min", "bytes"], ROWS)
    lines = [line for line in terminal.getvalue().splitlines() if line.strip()]
    assert len(lines) == 4
    assert max(map(len, lines)) <= 60
    assert "…" in lines[2]
    assert "end" in lines[2]
    assert "1,234,567" in lines[2]


def test_in_a_pipe_nothing_is_cut(capsys: pytest.CaptureFixture[str]) -> None:
    report.table(["tensor", "min", "bytes"], ROWS)
    text = capsys.readouterr().out
    assert ROWS[0][0] in text
    assert "[" not in text


def test_a_table_without_rows_and_markup_in_cells(capsys: pytest.CaptureFixture[str]) -> None:
    report.table(["tensor"], [])
    report.table(["tensor"], [("[red]x[/red]",)])
    assert "[red]x[/red]" in capsys.readouterr().out


def test_facts_align(capsys: pytest.CaptureFixture[str]) -> None:
    report.facts([("a", 1234), ("long", True), ("empty", None)])
    assert capsys.readouterr().out == "a      1,234\nlong   yes\nempty\n"


def test_progress_is_drawn_on_a_terminal_and_taken_away() -> None:
    stream = Terminal()
    with report.progress(stream) as bar:
        bar("reading", 0, 2)
        bar("writing", 1, 2)
    text = stream.getvalue()
    assert "reading" in text
    assert "writing" in text
    assert text.split("\r")[-1].strip() == ""


def test_progress_is_silent_elsewhere() -> None:
    stream = io.StringIO()
    with report.progress(stream) as bar:
        bar("reading", 0, 2)
    assert stream.getvalue() == ""


def test_errors_are_one_line_each(capsys: pytest.CaptureFixture[str]) -> None:
    report.error("one\ntwo", "three\n\nfour")
    assert capsys.readouterr().err == "error: one two\nhint: three four\n"


def test_names_in_files_cannot_steer_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    name = "\x1b[2Jconv\x07\u202e"
    report.error(name)
    report.note(name)
    report.line(name)
    report.facts([("node", name)])
    report.table(["node"], [(name,)])
    captured = capsys.readouterr()
    assert not set("\x1b\x07\u202e") & set(captured.out + captured.err)
