"""Upscale images with a trained network: python tools/upscale.py --weights FILE --input PATH --output DIR"""

from reflash_sr.commands.upscale import main

if __name__ == '__main__':
    raise SystemExit(main())
