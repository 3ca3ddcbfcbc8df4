"""doit's side of Slipway: tasks, database, command-line options, the session of a process, and the no-op stamp."""
