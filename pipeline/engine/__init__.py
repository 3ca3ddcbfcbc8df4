"""From an action to its outputs in place: keys, up-to-date status, execution. doit's tasks and the commands call it."""
