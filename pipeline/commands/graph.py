"""`doit graph`: the tasks and what waits for what, for Graphviz or Mermaid, coloured by what a run would do."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from pipeline.doit_plugin.session import Session
from pipeline.engine.dry_run import Forecast, State, forecast
from pipeline.engine.engine import Engine

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
        self.show(None, FORMATS[options.format](session.engine, listed), as_json=False)
        return 0


def dot(engine: Engine, listed: Sequence[Forecast]) -> Iterator[str]:
    """The graph in the language of Graphviz."""
    yield "digraph slipway {"
    yield "  rankdir=LR;"
    yield '  node [shape=box, style="rounded,filled", fontname="sans-serif", fontsize=11];'
    yield '  edge [color="#555555"];'
    for item in listed:
        action = engine.actions[item.name]
        label = _quoted(f"{action.step}\n{action.subject}")
        yield f'  {_quoted(item.name)} [label={label}, fillcolor="{COLOURS[item.state][0]}"];'
    for upstream, name in _edges(engine, listed):
        yield f"  {_quoted(upstream)} -> {_quoted(name)};"
    yield "  subgraph cluster_legend {"
    yield '    label="a run would find"; fontname="sans-serif"; fontsize=11;'
    for state in _states(listed):
        fill, words = COLOURS[state]
        yield f'    {_quoted(f"legend {state}")} [label={_quoted(words)}, fillcolor="{fill}"];'
    yield "  }"
    yield "}"


def mermaid(engine: Engine, listed: Sequence[Forecast]) -> Iterator[str]:
    """The graph in the language of Mermaid."""
    numbers = {item.name: f"t{i}" for i, item in enumerate(listed)}
    yield "flowchart LR"
    for item in listed:
        action = engine.actions[item.name]
        yield f'  {numbers[item.name]}["{_entities(action.step)}<br/>{_entities(action.subject)}"]:::{item.state}'
    for upstream, name in _edges(engine, listed):
        yield f"  {numbers[upstream]} --> {numbers[name]}"
    yield '  subgraph legend["a run would find"]'
    for state in _states(listed):
        yield f'    legend_{state}["{_entities(COLOURS[state][1])}"]:::{state}'
    yield "  end"
    for state in _states(listed):
        yield f"  classDef {state} fill:{COLOURS[state][0]},stroke:#555555,color:#000000"


FORMATS: Mapping[str, Callable[[Engine, Sequence[Forecast]], Iterator[str]]] = {"dot": dot, "mermaid": mermaid}


def _edges(engine: Engine, listed: Sequence[Forecast]) -> Iterator[tuple[str, str]]:
    """(upstream, downstream), in the order of the tasks."""
    for item in listed:
        for upstream in sorted(engine.actions[item.name].waits_for):
            yield upstream, item.name


def _states(listed: Sequence[Forecast]) -> list[State]:
    """The states that occur, in the order of the legend."""
    found = {item.state for item in listed}
    return [state for state in COLOURS if state in found]


def _quoted(text: str) -> str:
    """A string of Graphviz."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'


def _entities(text: str) -> str:
    """Text inside a Mermaid label: what could end it, or be taken for markup, is written by number."""
    return "".join(c if c.isalnum() or c in " -_.@+/:" else f"#{ord(c)};" for c in text)
