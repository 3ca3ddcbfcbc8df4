"""The truth of the build: what was made, from what, and the bytes themselves.

`store` is the way in; `blobs` keeps bytes by their digest, `records` what finished actions left, `ledger` what this
tree's `build/` and `dist/` hold, `digest` which files are known by heart, `lock` who may build here, `remote` the
store of other machines, `gc` how all of it stays small. Nothing in here knows what a step means, or that doit exists.

Nothing is imported here, so that a no-op pays only for what it uses.
"""
