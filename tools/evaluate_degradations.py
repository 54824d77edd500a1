"""How well do networks generalise? python tools/evaluate_degradations.py --weights A.pth B.pth --gt DIR --out DIR"""

from reflash_sr.commands.evaluate_degradations import main

if __name__ == '__main__':
    raise SystemExit(main())
