"""The kinds of work: a module for each, with `Params` and `run(job: Job[Params]) -> Facts`, and what they share."""
