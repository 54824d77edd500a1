"""Train a grid of networks and compare them: python tools/sweep_dropout.py --opt options/study_tiny.yml"""

from reflash_sr.commands.sweep_dropout import main

if __name__ == '__main__':
    raise SystemExit(main())
