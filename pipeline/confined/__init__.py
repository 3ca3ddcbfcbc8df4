"""Programs of the user's: run in a folder of their own, with an environment that is fixed, and an end that is certain.

The step `custom` runs them. Programs that Slipway knows run through `pipeline.process`.
"""
