"""The command-line tools, also as functions: networks and images in, a folder of results out."""
