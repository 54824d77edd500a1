"""How far networks tell degradations apart: python tools/cluster_degradations.py --weights A.pth --images D --out O"""

from reflash_sr.commands.cluster_degradations import main

if __name__ == '__main__':
    raise SystemExit(main())
