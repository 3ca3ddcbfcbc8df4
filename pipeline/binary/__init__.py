"""What is inside binary files: archives, fat files, objects and linked images, read and written in pure Python.

Steps call this to merge objects, to pack slices and to prove what came out. It knows bytes and names only: nothing of
the graph, the store, TVM's Python side or the file system. Everything a file can do wrong is a `FormatError`.
"""
