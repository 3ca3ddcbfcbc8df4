"""`doit graph`: the tasks and what waits for what, for Graphviz or Mermaid, coloured by what a run would do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.doit_plugin.session import Session
from pipeline.engine.dry_run import Forecast, State, forecast
from pipeline.engine.engine import Engine
from pipeline.kits.render import environment

from .base import ProjectCommand, value

COLOURS: Mapping[State, tuple[str, str]] = {
    "fresh": ("#cdeac0", "fresh"),
    "restore": ("#bfdcf5", "to restore from the store here"),
    "fetch": ("#d9ccf2", "to fetch from the remote store"),
    "build": ("#ffd19a", "to build"),
    "unknown": ("#fff3b0", "unknown: waits for a result"),
    "blocked": ("#f5b5b5", "blocked"),
}
"""State -> fill and what the legend says. Light, so that black text is readable on all of them."""


@dataclass(frozen=True)
class GraphOptions:
    """See `doit help graph`."""

    format: str = value(
        "what to write [default: %(default)s]",
        default="dot",
        choices={"dot": "Graphviz", "mermaid": "Mermaid, for Markdown"},
    )


class Graph(ProjectCommand[GraphOptions]):
    """draw the tasks and what waits for what, coloured by state (Slipway)"""  # noqa: D415 - doit prints this as it is

    name = "graph"
    doc_usage = "[TASK ...]"
    doc_description = (
        "With TASK (or a step), only those and what they need. The same project gives the same text. `doit graph | "
        "dot -Tsvg > graph.svg` makes a picture; Mermaid is drawn by GitHub and GitLab in Markdown. Exit status: 0, "
        "or 3 when there is no such task or the matrix is wrong."
    )

    def answer(self, session: Session, options: GraphOptions, args: Sequence[str]) -> int:
        """See `ProjectCommand`."""
        listed = list(forecast(session.engine, args or None))
        self.say(drawn(session.engine, listed, options.format))
        return 0


def drawn(engine: Engine, listed: Sequence[Forecast], language: str) -> str:
    """The graph in a language, by its template: the tasks in their order, and the states that occur in the legend's."""
    jinja = environment([Path(__file__).parent], {"dot": _quoted, "mermaid": _entities})
    found = {item.state for item in listed}
    text = jinja.get_template(f"graph.{language}.j2").render(
        listed=[(item, engine.actions[item.name]) for item in listed],
        numbers={item.name: f"t{i}" for i, item in enumerate(listed)},
        colours=COLOURS,
        states=[state for state in COLOURS if state in found],
    )
    return text.rstrip()


def _quoted(text: str) -> str:
    """A string of Graphviz."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'


def _entities(text: str) -> str:
    """Text inside a Mermaid label: what could end it, or be taken for markup, is written by number."""
    return "".join(c if c.isalnum() or c in " -_.@+/:" else f"#{ord(c)};" for c in text)
