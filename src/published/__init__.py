"""The published solution's files: fetched, checked, converted.

Its face: `downloads.obtain_all`, `detectron2.read_weights` and `convert_weights`. It may import
`utils`.
"""
