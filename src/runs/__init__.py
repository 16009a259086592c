"""A run over many images: its outputs planned, its images shared, skipped, recorded, summed up.

Its face: `plan.plan_run`, `records.Records`, `sharing.Share`, `segmentation.segment_files`,
`summary.write_run` and `sum_up`. It may import `network`, `cells` and `utils`.
"""
