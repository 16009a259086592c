"""The second level: a CatBoost model predicts each instance's IoU, which becomes its score.

Its face: `model.second_level_from` and `SecondLevel` to use one, `predictions` and `fitting` to
train one, `features.table.compute_features`. It may import `evaluation`, `network`, `cells` and
`utils`.
"""
