"""What the tools do, as functions: networks and images in, a folder of results out."""
