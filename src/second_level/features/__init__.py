"""Columns of numbers for each instance, from its shape, its pixels and its neighbours.

Its face: `table.compute_features` and `table.FEATURE_NAMES`. A group of columns is a
`base.FeatureGroup`; the modules `shape`, `image`, `overlaps` and `neighbours` define them.
"""
