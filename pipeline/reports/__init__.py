"""What a run shows: a live board on a terminal, a line an event elsewhere, and a table at the end."""
