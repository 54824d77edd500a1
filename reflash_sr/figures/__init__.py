"""All drawing: arrays in, PNG files out, whole or not at all. No display, and no state of Matplotlib's is touched."""
