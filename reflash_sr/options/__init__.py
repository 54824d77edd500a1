"""Option files: reading, safe YAML, the tables of known keys, the checks."""
