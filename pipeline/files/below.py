"""What is below a directory of the user's: every file and directory, links followed."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator


def below(root: str) -> Iterator[str]:
    """The relative posix paths of everything below a directory, in no order; those of directories end in `/`.

    Links are followed, for checkpoints often are directories of links into a cache. One that leads nowhere is a file.

    Raises:
        OSError: a directory cannot be read, or a link leads to one that it is in.
    """
    pending: list[tuple[str, tuple[str, ...]]] = [("", (os.path.realpath(root),))]
    while pending:
        prefix, above = pending.pop()
        with os.scandir(f"{root}/{prefix}") as entries:
            for entry in entries:
                if not entry.is_dir():
                    yield prefix + entry.name
                    continue
                inside = above
                if entry.is_symlink():
                    inside = (*above, os.path.realpath(entry.path))
                    if any(f"{one}/".startswith(f"{inside[-1]}/".replace("//", "/")) for one in above):
                        raise OSError(errno.ELOOP, "it leads back to a directory above it", entry.path)
                yield f"{prefix}{entry.name}/"
                pending.append((f"{prefix}{entry.name}/", inside))
