"""doit's side of Slipway: tasks, database, runner, command-line options and the no-op stamp."""
