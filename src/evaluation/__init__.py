"""Predictions against annotations: metrics, COCO's AP, thresholds, pictures, reports.

Its face: `job.run_evaluation` for the scripts, `evaluator.evaluate` for the training, and
`metrics`. It may import `network`, `cells` and `utils`.
"""
