"""Simulated phase-contrast images of cells, with annotations."""
