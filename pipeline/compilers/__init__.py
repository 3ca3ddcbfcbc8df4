"""How a model becomes objects. What is here runs inside a compile worker, in a child process of its own.

`pipeline.steps` calls these modules by name ("pipeline.compilers.relax:lower") through a `Worker`; nothing here knows
of the graph, the store or doit. `recipe` is what a recipe may import, and imports no TVM.
"""
