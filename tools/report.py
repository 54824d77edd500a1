"""One page about two or more networks: python tools/report.py --weights A.pth B.pth --images DIR --out DIR"""

from reflash_sr.commands.report import main

if __name__ == '__main__':
    raise SystemExit(main())
