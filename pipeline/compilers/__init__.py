"""How a model becomes objects. What is here runs inside a compile worker, in a child process of its own.

The steps call it through a `Worker`. `recipe` is what a recipe may import, and imports no TVM.
"""
