"""What an app needs beside an archive: linker flags, package files and `link.json`. The kit steps render them."""
