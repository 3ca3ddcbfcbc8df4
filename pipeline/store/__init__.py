"""The store: an action cache over content-addressed storage, and the state of this tree.

`store` is the facade. `cas` keeps blobs by their digest, `action_cache` the results of actions, `workspace` what this
tree's `build/` and `dist/` hold, `stat_cache` the digests of unchanged files, `locks` who may build here; `remote` is
the store of other machines, and `gc` deletes what was not used for long.

Nothing is imported here, so that a no-op pays only for what it uses.
"""
