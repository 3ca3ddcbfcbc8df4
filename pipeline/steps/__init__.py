"""One module a kind of work, each with `run(job: Job) -> dict`. They never look at the graph, the store or doit."""
