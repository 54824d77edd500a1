"""Looking into networks and results: arrays in, arrays and figures out; nothing of BasicSR."""
