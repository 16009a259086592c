"""Predictions of images that are cut into tiles, which have thresholds of their own."""

from __future__ import annotations

import pytest

from second_level.predictions import read_predictions


@pytest.mark.parametrize("share", [1.0, 0.5])
def test_predictions_of_several_tiles_are_read_back_and_not_made_anew(
    run, untrained, shapes, tmp_path, share
):
    command = (
        *("--image_dir", shapes / "images", "--annotation_dir", shapes / "annotations"),
        *("--weights", untrained(), "--out_dir", tmp_path, "--device", "cpu"),
        *("--tile", 64, "--detection_share", share),
    )
    done = run("prepare_for_2nd_level_model.py", *command)
    assert done.returncode == 0, done.stderr
    for path in tmp_path.glob("*.pkl"):
        predictions = read_predictions(path)
        assert predictions.threshold == 0
        assert (predictions.image_scale, predictions.tile) == (1, (64, 64, 0))
        if share == 1:
            assert predictions.unlowered is None
            assert len(predictions.kept) == len(predictions.instances)
        else:  # what the tiles' own thresholds let pass
            assert predictions.kept is predictions.unlowered
            assert len(predictions.kept) <= len(predictions.instances)
    again = run("prepare_for_2nd_level_model.py", *command, "--resume")
    assert "0 image(s), 0 instances" in again.stdout and "3 were there already" in again.stdout
