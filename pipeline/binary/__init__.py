"""What is inside binary files: archives, fat files, objects and linked images, read and written in pure Python.

Steps call this to merge objects, to pack slices and to prove what came out. Everything a file can do wrong is a
`FormatError`. In this folder `data` is a whole file, and `name` or `where` is how errors name it.
"""
