"""What is inside binary files: archives, fat files, objects and linked images, read and written in pure Python.

Steps call this to merge objects, to pack slices and to prove what came out. Readers take the bytes of a whole file, and
`name` or `where`, by which errors call it. Everything a file can do wrong is a `FormatError`.
"""
