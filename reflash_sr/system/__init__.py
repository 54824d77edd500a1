"""The machine under a run: devices, ranks, memory, files, locks, signals, the folder of results."""
