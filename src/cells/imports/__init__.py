"""Corrected cells from files that other programs write, one module a format.

Its face: `formats.ENDINGS` (what the files are called, without heavy imports), `readers.READERS`
(a function for each format of one image), `coco.read_images` (files of many images) and
`dataset.write_annotations`, which makes training data of them. It may import `cells` and `utils`.
A new format is a module with `read_...(path, image_size, classes)` that gives `Contents`, an entry
in `ENDINGS` and one in `READERS`.
"""
