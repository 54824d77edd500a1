"""What is lost without single channels: python tools/ablate_channels.py --weights A.pth B.pth --images DIR --out DIR"""

from reflash_sr.commands.ablate_channels import main

if __name__ == '__main__':
    raise SystemExit(main())
