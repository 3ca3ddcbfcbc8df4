"""Writes its inputs, one after the other, into one file: what a peer does with `cat`."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.action import Job


@dataclass(frozen=True)
class Params:
    """Of a task.

    Attributes:
        name: of the output; also its last line.
        note: nothing but a part of the key.
    """

    name: str
    note: str = ""


def run(job: Job[Params]) -> None:
    """Write the inputs, each a file or the file in a directory that is named as its role, and a line at the end."""
    name = job.params.name
    data = [(path if role == "source" else path / role).read_bytes() for role, path in job.inputs.items()]
    job.write(name, b"".join([*data, f"{name}\n".encode()]))
