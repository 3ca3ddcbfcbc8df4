"""Runs what was built: one check of a recipe, a runner for each kind of machine. `check` has the seam."""
