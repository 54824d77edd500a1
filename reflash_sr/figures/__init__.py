"""All figures: arrays in, PNG files out, written atomically; needs no display and keeps Matplotlib's global state."""
