"""Image files of all kinds, opened as a `Volume`: pixels with named axes, read window by window.

Its face is `open_file.open_volume`. May import cells' own modules beside it and utils.
"""
