"""Generating token by token, in NumPy: rows of tokens, steps over functions of a file, and ways to choose."""
