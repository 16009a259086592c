"""Predictions in files that other programs open, one module a format.

Its face: `formats.FORMATS` (names, suffixes and words for them, without heavy imports),
`writers.WRITERS` (a function for each name) and `segmented.SegmentedImage`, which they write.
It may import `cells` and `utils`. A new format is a module with `write_...(path, segmented)`, an
entry in `FORMATS` and one in `WRITERS`.
"""
