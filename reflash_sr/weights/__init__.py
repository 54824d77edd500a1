"""Weights files: formats, checksums, keys of other projects, and building a trained network from its file."""
