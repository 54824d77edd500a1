"""Where channels decide about detail: python tools/map_saliency.py --weights A.pth B.pth --images DIR --out DIR"""

from reflash_sr.commands.map_saliency import main

if __name__ == '__main__':
    raise SystemExit(main())
