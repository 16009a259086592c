"""Predictions against annotations: metrics, thresholds, pictures, reports."""
