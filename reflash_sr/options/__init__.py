"""Option files: reading, safe YAML, tables of known keys, checks."""
