"""Measuring how well networks restore degraded pictures; imports nothing of BasicSR."""
