"""A run over many images: its outputs planned, its images shared, skipped, recorded, summed up.

Its face: `plan.plan_images`, `records.Records`, `sharing.share`, `summary.write_summary` and
`provenance.run_information`. It may import `cells` and `utils`; it knows no models.
"""
