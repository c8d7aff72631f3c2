"""What is painted on a terminal, and what is not where there is none."""

import io
import re

import pytest

from ipcx._terminal import Terminal, cut, padded, shown


class Out(io.StringIO):
    def __init__(self, tty: bool = True, encoding: str = "utf-8") -> None:
        super().__init__()
        self.tty, self._encoding = tty, encoding

    @property
    def encoding(self) -> str:
        return self._encoding

    def isatty(self) -> bool:
        return self.tty


@pytest.fixture
def screen(monkeypatch):
    """`screen(tty, encoding, columns, rows)`: a Terminal, whose `out` remembers."""

    def make(tty=True, encoding="utf-8", columns=80, rows=24):
        monkeypatch.setenv("TERM", "xterm")
        monkeypatch.delenv("NO_COLOR", raising=False)
        monkeypatch.setenv("COLUMNS", str(columns))
        monkeypatch.setenv("LINES", str(rows))
        return Terminal(Out(tty, encoding))

    return make


def seen(written: str) -> list[str]:
    """What stands on a terminal's lines after all that was written."""
    rows, row, column = [""], 0, 0
    for part in re.findall(r"\033\[\d*[A-Za-z]|\033\[[\d;]*m|[\r\n]|[^\033\r\n]+", written):
        if part == "\r":
            column = 0
        elif part == "\n":
            row, column = row + 1, 0
            rows += [""] * (row + 1 - len(rows))
        elif part == "\033[K":
            rows[row] = rows[row][:column]
        elif part == "\033[J":
            rows[row:] = [rows[row][:column]]
        elif part.endswith("A"):
            row -= int(part[2:-1])
        elif not part.endswith("m") or not part.startswith("\033"):
            rows[row] = rows[row][:column].ljust(column) + part + rows[row][column + len(part) :]
            column += len(part)
    return rows


def test_what_is_painted_is_painted_over_and_goes_away(screen):
    terminal = screen()
    terminal.line("stays")
    terminal.paint(["one", "two", "three"])
    assert seen(terminal.out.getvalue()) == ["stays", "one", "two", "three"]
    terminal.paint(["1", "2"])
    assert seen(terminal.out.getvalue()) == ["stays", "1", "2"]
    terminal.paint(["longer", "than", "before", "!"])
    assert seen(terminal.out.getvalue()) == ["stays", "longer", "than", "before", "!"]
    terminal.line("stays, too")
    assert seen(terminal.out.getvalue()) == ["stays", "stays, too", ""]
    terminal.clear()
    assert seen(terminal.out.getvalue()) == ["stays", "stays, too", ""]


def test_what_is_painted_may_stay(screen):
    terminal = screen()
    terminal.paint(["one", "two"])
    terminal.settle()
    terminal.settle()
    terminal.line("below")
    assert seen(terminal.out.getvalue()) == ["one", "two", "below", ""]


def test_painted_lines_fit_in_the_window(screen):
    terminal = screen(columns=20, rows=4)
    terminal.paint([terminal.style("x" * 50, "red") for _ in range(50)])
    assert seen(terminal.out.getvalue()) == ["x" * 19] * 3


def test_where_there_is_no_terminal_nothing_is_painted(screen):
    terminal = screen(tty=False)
    terminal.paint(["one"])
    terminal.clear()
    terminal.line(terminal.style("plain", "bold", "red"))
    assert terminal.out.getvalue() == "plain\n"


@pytest.mark.parametrize(("name", "value"), [("NO_COLOR", "1"), ("TERM", "dumb")])
def test_colour_can_be_refused(screen, monkeypatch, name, value):
    screen()
    monkeypatch.setenv(name, value)
    assert Terminal(Out()).style("plain", "bold") == "plain"
    assert Terminal(Out()).terminal == (name == "NO_COLOR")


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "no such encoding"])
def test_signs_that_cannot_be_said_are_said_in_ascii(screen, encoding):
    terminal = screen(tty=False, encoding=encoding)
    terminal.line("3 µs – 4 µs │ " + terminal.bar(0.5, 10) + " ☃")
    assert terminal.out.getvalue().isascii()
    assert terminal.out.getvalue().startswith("3 us - 4 us | #####")


def test_a_bar_is_in_proportion(screen):
    terminal = screen()
    assert terminal.bar(1, 8) == terminal.bar(7, 8) == "█" * 8
    assert terminal.bar(0.5, 8) == "█" * 4
    assert terminal.bar(0.5, 1) == "▌"
    assert terminal.bar(1e-9, 8) == "▏"
    assert terminal.bar(0, 8) == ""
    plain = screen(encoding="ascii")
    assert [plain.bar(share, 8) for share in (0, 1e-9, 0.5, 1)] == ["", "#", "####", "########"]


def test_styled_text_is_measured_cut_and_filled_by_what_is_seen(screen):
    text = screen().style("hello", "red") + " you"
    assert shown(text) == 9
    assert shown(cut(text, 3)) == 3
    assert cut(text, 3).endswith("\033[0m")
    assert cut(text, 20) == text
    assert padded("ab", 4) == "ab  "
    assert shown(padded(text, 12)) == 12
    assert shown(padded(text, 6)) == 6


def test_the_width_follows_the_window(screen, monkeypatch):
    terminal = screen(columns=60)
    assert terminal.width == terminal.columns == 60
    monkeypatch.setenv("COLUMNS", "1000")
    assert terminal.width == 100  # longer lines are hard to read
    assert terminal.columns == 1000
    assert screen(tty=False).columns > 100_000
