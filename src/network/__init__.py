"""mmdet models: built, loaded, made fast, run, and merged into an ensemble."""
