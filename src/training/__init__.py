"""Training of segmentation models, and the pseudo labels of the next round.

Its face: `config.load_config`, `dataset.build_loader`, `runner.build_runner`, `pseudo_labels`. It
may import `evaluation`, `network`, `cells` and `utils`.
"""
