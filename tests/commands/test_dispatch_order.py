"""What waits for one task goes on in the order of the plan."""

from __future__ import annotations

import re

WAITING = 30

FIRST = """
steps:
  first:
    command: [sh, -c, 'sleep 1; cp "$0" "$1"', "{in.file}", "{out}/file"]
    inputs: {file: recipe.py}
    outputs: [file]
"""
NEXT = """\
  nextNUMBER:
    command: [cp, "{in.file}/file", "{out}/file"]
    inputs: {file: "first:once"}
    outputs: [file]
"""


def test_what_waits_for_one_task_goes_on_in_the_order_of_the_plan(project):
    steps = FIRST + "".join(NEXT.replace("NUMBER", str(number)) for number in range(WAITING))
    project.write("targets.yaml", project.path("targets.yaml").read_text() + steps)
    run = project.ok("-n", "2", *(f"next{number}:once" for number in range(WAITING)))
    done = list(map(int, re.findall(r"next(\d+):once: built", run.output)))
    assert sorted(done) == [*range(WAITING)]
    # Two threads may end a few of them in another order than they began.
    assert all(abs(number - place) < 5 for place, number in enumerate(done)), done
