"""Gains of several seeds: python tools/compare_seeds.py --results results/evaluation_* --out results/gains"""

from reflash_sr.commands.compare_seeds import main

if __name__ == '__main__':
    raise SystemExit(main())
