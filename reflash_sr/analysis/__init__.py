"""Analysis of networks: ablation, saliency and feature clusters; ``measure_*.py`` run networks over images."""
