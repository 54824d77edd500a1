"""What a window of an image depends on: python tools/map_attribution.py --weights A.pth --images DIR --out DIR"""

from reflash_sr.commands.map_attribution import main

if __name__ == '__main__':
    raise SystemExit(main())
