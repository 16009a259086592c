"""A run over many images: its outputs planned, its images shared, skipped, recorded, summed up.

Its face: `plan.plan_run`, `records.Records`, `sharing.Share`, `segmentation.segment_files`,
`summary.write_run` and `sum_up`; and, to read corrected results back,
`label_files.find_label_files` and `labelled_images.read_labelled`. It may import `network`,
`cells` and `utils`.
"""
