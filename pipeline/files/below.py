"""What is below a directory of the user's: every file and directory, links followed."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator

MOST_LINKS = 1000
"""Links to directories that are followed: two in each directory, to the next one, would double the work every time."""


def below(root: str) -> Iterator[str]:
    """The relative posix paths of everything below a directory, in no order; those of directories end in `/`.

    Links are followed, for checkpoints often are directories of links into a cache. One that leads nowhere is a file.

    Raises:
        OSError: a directory cannot be read, a link leads to one that it is in, or there are too many of them.
    """
    links = 0
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
                    links += 1
                    if links > MOST_LINKS:
                        what = f"there are more than {MOST_LINKS} links to directories in it"
                        raise OSError(errno.ELOOP, what, root)
                    inside = (*above, os.path.realpath(entry.path))
                    if any(f"{one}/".startswith(f"{inside[-1]}/".replace("//", "/")) for one in above):
                        raise OSError(errno.ELOOP, "it leads back to a directory above it", entry.path)
                yield f"{prefix}{entry.name}/"
                pending.append((f"{prefix}{entry.name}/", inside))
