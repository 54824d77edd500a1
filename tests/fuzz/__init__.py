"""Anything that a stranger's file may hold: it is read rightly, or refused in one line.

Each test tries a few dozen examples; with REFLASH_FUZZ=5000 in the environment, as many as that, and others every time.
"""
