"""Measuring how well networks restore degraded images; imports nothing of BasicSR."""
