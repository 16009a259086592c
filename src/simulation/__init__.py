"""Simulated phase-contrast images of cells, with annotations.

Its face: `dataset.write_split` and `dataset.load_layouts` for data sets, `shapes.random_layout` and
`render.render` for an image. It may import `cells` and `utils`.
"""
