"""``python -m reflash_sr``: the ``basicsr`` command."""

import sys

from reflash_sr.cli import main

if __name__ == '__main__':
    sys.exit(main())
