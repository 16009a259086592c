"""Predictions against annotations: metrics, COCO's AP, thresholds, pictures, reports.

Its face: `job.run_evaluation` for the scripts, `evaluator.for_each_image` for the training, and
`metrics`. It may import `network`, `cells` and `utils`.
"""
