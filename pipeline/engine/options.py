"""What a run was asked for, as a value: the command line fills it in, the engine reads it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Options:
    """The options of a run.

    Attributes:
        strict: a proof that cannot be made here is an error.
        store_only: nothing is built; what the store lacks is an error.
        always: actions that are up to date are done again, too.
        debug: log decisions, commands and cache traffic, and show tracebacks.
        trace_reads: the user's commands run again, watched: what they read must be declared.
        on: address of the scheduler of a cluster that performs actions; empty where there is none.
    """

    strict: bool = False
    store_only: bool = False
    always: bool = False
    debug: bool = False
    trace_reads: bool = False
    on: str = ""

    @property
    def are_special(self) -> bool:
        """Whether a run with them says nothing about a plain one."""
        return self.strict or self.store_only or self.always or self.trace_reads
