"""Shipped apps: what of the models, and of the runtime they need, is really in the binary that goes to users.

`pipeline.commands.verify_app` is the only caller. `containers` gives the files of an app, `contents` reads what matters
of them, `expectations` says which models ought to be there, `verdicts` compares. Nothing here builds, links, extracts
to disk or knows the matrix; only reading is done, so it works on any system.
"""
