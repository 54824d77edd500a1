"""One training or test run: pipeline, preflight, resume, stopping, progress."""
