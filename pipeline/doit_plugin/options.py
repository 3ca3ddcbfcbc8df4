"""What a command line asks for beyond doit's own options. `commands.run` fills it in before the matrix is read.

One command runs in a process, so there is one. Imported on every call, so it imports nothing.
"""


class Options:
    """The options of a run.

    Attributes:
        strict: a proof that cannot be made here is an error.
        store_only: nothing is built; what the store lacks is an error.
        always: fresh tasks are done again, too.
    """

    __slots__ = ("always", "store_only", "strict")

    def __init__(self) -> None:
        self.strict = False
        self.store_only = False
        self.always = False

    @property
    def are_special(self) -> bool:
        """Whether a run with them says nothing about a plain one."""
        return self.strict or self.store_only or self.always


OPTIONS = Options()
"""The options of this process."""
