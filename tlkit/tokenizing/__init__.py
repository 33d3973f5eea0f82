"""Texts -> numbers of word pieces: `wordpiece` in Python, `wordpiece_graph` the same inside a TensorFlow graph."""
