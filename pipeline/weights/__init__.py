"""Getting the files of a model, from wherever a project says they are, and holding them to what was locked.

One source a module (`package`, `hub`, `url`, `local`); `fetch` is the choreography they share. Called by
`pipeline.steps.weights`; `plan.lockfile` keeps what was found in `slipway.lock`.
"""
