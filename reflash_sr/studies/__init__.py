"""Studies (grids of training runs): cells, checks, jobs and results."""
