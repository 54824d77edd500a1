"""What the tools do, as functions: networks and pictures in, a folder of results out."""
