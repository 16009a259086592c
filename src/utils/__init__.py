"""What all scripts and packages share: errors, options, paths, files, device, stages, pickles.

Its face is all of it. It imports nothing of the other packages, and the standard library only at
import time: check_install.py runs before anything is installed.
"""
