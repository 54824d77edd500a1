"""Looking into networks: ablation, saliency and clusters. ``measure_*.py`` run networks over images."""
