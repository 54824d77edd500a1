"""Cut photographs into sub-images for training: python tools/prepare_data.py --input DIR --output DIR"""

from reflash_sr.commands.prepare_data import main

if __name__ == '__main__':
    raise SystemExit(main())
