"""Weights files: formats and checksums, key layouts of other projects, a trained network from its file."""
