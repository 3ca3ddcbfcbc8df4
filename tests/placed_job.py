"""A job for tests of steps that adopt files: all of its outputs are in one place."""

from __future__ import annotations

from pipeline.action import Job
from pipeline.files import digest_path


class PlacedJob(Job):
    """A job whose adopted files are put where the store would put them.

    What the step says of them is compared with what they are.
    """

    def adopt(self, path, file, digest):
        super().adopt(path, file, digest)
        assert digest_path(file) == digest
        (self.out / path).parent.mkdir(parents=True, exist_ok=True)
        (self.out / path).hardlink_to(file.resolve())
