"""The page of evidence is built by code that lives beside it, outside of the package."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / 'docs' / 'evidence' / 'builder'))
