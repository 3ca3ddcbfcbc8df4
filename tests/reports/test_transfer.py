"""How a transfer of files is shown: a line each, and on a terminal a bar that leaves nothing behind."""

from __future__ import annotations

import io

from pipeline.reports.transfer import shown


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_line_for_each_file():
    out = io.StringIO()
    with shown(out, 10, 3000) as arrived:
        arrived("a/b.bin", 1000)
        arrived("c", 2000)
    assert out.getvalue() == "[ 1/10] a/b.bin: 1.0 kB\n[ 2/10] c: 2.0 kB\n"


def test_a_bar_on_a_terminal_shows_names_as_they_are():
    out = Terminal()
    with shown(out, 2, 3000) as arrived:
        arrived("[red]b.bin", 3000)
    assert "[red]b.bin" in out.getvalue()
