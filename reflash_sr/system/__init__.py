"""Devices, processes, memory, files, locks, signals, and the folder of results."""
