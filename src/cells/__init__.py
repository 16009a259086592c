"""Cells in memory and in files: instances, masks, images, annotations, exports.

Its face: `instances.Instances` and `Boxes`, `images.read_image`, `annotations.load_annotations` and
`AnnotationSet`, `exports.writers.WRITERS`. It may import `utils`; it knows neither torch nor mmdet.
"""
