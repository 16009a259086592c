"""mmdet models: built, loaded, made fast, run, and merged into an ensemble.

Its face: `ensemble.ensemble_from`, `load_ensemble` and `Ensemble`, `detector.Detector`,
`models.build_model`, `checkpoints.load_checkpoint`. It may import `cells` and `utils`.
`network.operators` has to be imported before mmdet and mmcv.ops.
"""
