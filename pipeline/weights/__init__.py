"""Getting the files of a model, from wherever a project says they are, and holding them to what was locked.

One source a module (`package`, `hub`, `url`, `local`); `fetch` is the choreography they share; `lock` is
`slipway.lock`. Called by `pipeline.steps.weights`, and `lock` also by whoever plans. Nothing here knows the graph, the
store or doit.
"""
