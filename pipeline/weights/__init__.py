"""Getting the files of a model, from wherever a project says they are, and holding them to what was locked.

A module for each source (`package`, `hub`, `url`, `local`); `fetch` is what they share. `steps.weights` calls it;
`plan.lockfile` keeps what was found in `slipway.lock`.
"""
