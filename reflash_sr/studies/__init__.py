"""A study, a grid of training runs: its cells, checks, jobs and results."""
