"""Images of several tiles, with a detector that knows the answer: cells painted in colours."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch

from cells.instances import Candidates, Instances
from cells.masks import binary_crops
from cells.pictures import ArrayPicture
from network import tiling
from network.tiles import Window, by_tile, tile_grid
from network.tiling import TiledEnsemble, Tiling
from utils.script import InputError
from utils.stages import StageTimer

FIELD = (100, 140)


class Painted:
    """An ensemble that finds every colour of a window as one cell.

    Args:
        fade: pixels at the edge of a window in which masks end too early.
        least_area: smaller pieces are not found.
        threshold: of every tile; a cell's score is its red value in percent.
    """

    class_names = ("cell", "other")
    device = torch.device("cpu")
    grey_rule = None
    post_processing = SimpleNamespace(mask_nms_iou=0.1, confidence={"default": 0.5})

    def __init__(self, fade: int = 0, least_area: int = 1, threshold: float = 0.0) -> None:
        inference = {"scale": 1.0, "field": FIELD}
        self.views = [SimpleNamespace(detector=SimpleNamespace(inference=inference))]
        self.fade = fade
        self.least_area = least_area
        self.threshold = threshold
        self.threshold_share = 1.0
        self.scales = set()
        self.sizes = set()

    def lower_thresholds(self, share):
        self.threshold *= share
        self.threshold_share *= share

    def prepare(self, image, timer, image_scale=1.0):
        self.scales.add(image_scale)
        self.sizes.add(image.shape[:2])
        return [SimpleNamespace(pixels=torch.from_numpy(image.copy()))]

    def detect(self, prepared, timer, least_score=np.inf):
        return [self._find(image.pixels.numpy()) for (image,) in prepared]

    def _find(self, pixels):
        if self.fade:
            pixels = pixels.copy()
            for edge in (slice(None, self.fade), slice(-self.fade, None)):
                pixels[edge] = pixels[:, edge] = 0
        size = pixels.shape[:2]
        instances = Instances.empty(size)
        found = []
        for colour in np.unique(pixels.reshape(-1, 3), axis=0):
            mask = (pixels == colour).all(axis=2)
            if colour.any() and mask.sum() >= self.least_area:
                found.append((mask, colour))
        if found:
            box = np.array([_box(mask) for mask, _ in found], np.float32)
            instances = Instances(
                size,
                box,
                np.array([colour[2] / 100 for _, colour in found], np.float32),
                np.array([colour[1] for _, colour in found], np.int64),
                [mask.astype(np.float32) for mask, _ in found],
                np.zeros((len(found), 2), np.int64),
            )
        return SimpleNamespace(instances=instances, deciding_class=0, threshold=self.threshold)

    def finish(self, detections, timer):
        return detections.instances


def _box(mask):
    ys, xs = np.nonzero(mask)
    return xs.min(), ys.min(), xs.max() + 1, ys.max() + 1


def paint(size, discs):
    """Discs of (x, y, radius[, score in percent]); each in a colour of its own."""
    image = np.zeros((*size, 3), np.uint8)
    for i, (x, y, radius, *score) in enumerate(discs):
        cv2.circle(image, (x, y), radius, (i + 1, 0, *(score or [90])), -1)
    return image


def frames(instances):
    """Foreground of each instance in the whole image, by the blue value that it covers most."""
    result = []
    for crop, (x, y) in zip(binary_crops(instances), instances.offsets, strict=True):
        frame = np.zeros(instances.image_size, bool)
        frame[y : y + crop.shape[0], x : x + crop.shape[1]] = crop
        result.append(frame)
    return result


def assert_each_disc_once(image, instances, tolerance=0):
    count = image[:, :, 0].max()
    found = frames(instances)
    assert len(found) == count
    for number in range(1, count + 1):
        truth = image[:, :, 0] == number
        differing = [np.count_nonzero(truth ^ frame) for frame in found]
        assert min(differing) <= tolerance * np.sqrt(truth.sum()), number


# 2 x 3 tiles of 100 x 140: seams at y = 100 and x = 140 and 280
SEAMS = [
    (140, 50, 12),  # across a vertical seam
    (60, 100, 12),  # across a horizontal one
    (280, 100, 14),  # across a corner
    (128, 150, 11),  # touches a seam from the left
    (292, 40, 11),  # and from the right
    (143, 30, 6),  # mostly on one side
    (210, 97, 8),
    (210, 60, 5),  # in the middle of a tile
    (12, 12, 9),  # at the corner of the image
    (400, 180, 30),  # cut by the image itself
    (100, 160, 4),
]


@pytest.mark.parametrize("overlap", [0, 16, 40])
def test_discs_on_every_kind_of_seam_are_found_once_with_full_area(overlap):
    image = paint((200, 420), SEAMS)
    tiled = TiledEnsemble(Painted(), Tiling(overlap=overlap))
    assert len(tiled.tiles((200, 420))) == 6
    assert_each_disc_once(image, tiled.predict(image))


@pytest.mark.parametrize("overlap", [0, 16, 40])
def test_masks_that_fade_at_the_edge_of_a_window_are_still_joined(overlap):
    image = paint((200, 420), SEAMS[:8])
    found = TiledEnsemble(Painted(fade=2), Tiling(overlap=overlap)).predict(image)
    assert_each_disc_once(image, found, tolerance=1.5)


@pytest.mark.parametrize("overlap", [0, 24])
def test_a_cell_larger_than_a_tile(overlap):
    image = paint((300, 420), [(210, 150, 120), (20, 20, 9)])
    tiled = TiledEnsemble(Painted(), Tiling(overlap=overlap))
    assert len(tiled.tiles((300, 420))) == 9
    assert_each_disc_once(image, tiled.predict(image))


@pytest.mark.parametrize("overlap", [0, 16])
def test_neighbours_that_meet_at_a_seam_stay_apart(overlap):
    # one ends where the other begins, shifted along the seam
    image = paint((100, 280), [(129, 40, 11), (152, 54, 11)])
    found = TiledEnsemble(Painted(), Tiling(overlap=overlap)).predict(image)
    assert_each_disc_once(image, found)


def test_an_unsure_part_is_not_lost_where_the_other_tile_is_sure():
    image = paint((100, 280), [(140, 50, 12, 90)])
    image[:, 140:][image[:, 140:, 0] == 1] = (1, 0, 30)  # the right half scores 0.3
    image[:, :, :2][image[:, :, 0] == 1] = (1, 0)
    found = TiledEnsemble(Painted(threshold=0.5)).predict(image)
    assert len(found) == 1
    assert found.scores[0] == pytest.approx(0.9)
    assert frames(found)[0].sum() == (image[:, :, 0] == 1).sum()
    nothing = TiledEnsemble(Painted(threshold=0.95)).predict(image)
    assert len(nothing) == 0


def test_a_sliver_that_is_not_seen_leaves_one_cell():
    image = paint((100, 280), [(130, 50, 12)])  # three columns beyond the seam
    found = TiledEnsemble(Painted(least_area=60)).predict(image)
    assert len(found) == 1


def test_an_image_of_one_field_is_not_cut():
    ensemble = Painted()
    image = paint(FIELD, [(70, 50, 12)])
    tiled = TiledEnsemble(ensemble, Tiling(image_scale=1.0))
    assert_each_disc_once(image, tiled.predict(image))
    assert ensemble.sizes == {FIELD}
    assert isinstance(tiled.candidates(image), Candidates)


def test_nothing_found_in_any_tile():
    found = TiledEnsemble(Painted()).predict(np.zeros((200, 420, 3), np.uint8))
    assert len(found) == 0
    assert found.image_size == (200, 420)


def test_tiles_have_the_size_of_a_training_field_in_the_images_own_pixels():
    ensemble = Painted()
    tiled = TiledEnsemble(ensemble, Tiling(image_scale=0.5))  # its pixels are half as large
    assert len(tiled.tiles((200, 280))) == 1
    tiled.predict(np.zeros((400, 560, 3), np.uint8))
    assert ensemble.sizes == {(200, 280)}
    assert ensemble.scales == {0.5}


@pytest.mark.parametrize(
    ("size", "overlap"), [((1, 1), 0), ((101, 141), 0), ((250, 999), 40), ((100, 5000), 17)]
)
def test_own_parts_make_up_the_image(size, overlap):
    covered = np.zeros(size, int)
    for tile in tile_grid(size, FIELD, overlap):
        y0, y1, x0, x1 = tile.own
        covered[y0:y1, x0:x1] += 1
        window = tile.window
        assert 0 <= window.y0 <= y0 < y1 <= window.y1 <= size[0]
        assert 0 <= window.x0 <= x0 < x1 <= window.x1 <= size[1]
        assert window.y1 - window.y0 <= FIELD[0] + overlap
        assert window.x1 - window.x0 <= FIELD[1] + overlap
    assert (covered == 1).all()


def test_multiples_of_a_field_get_the_fields():
    owns = [tile.own for tile in tile_grid((200, 420), FIELD, 24)]
    assert owns[:2] == [Window(0, 100, 0, 140), Window(0, 100, 140, 280)]
    assert len(tile_grid((100 + 24, 140 + 24), FIELD, 24)) == 1  # a little more is not cut


def test_an_impossible_overlap():
    for overlap in (-1, 51):
        with pytest.raises(InputError, match="--overlap"):
            TiledEnsemble(Painted(), Tiling(overlap=overlap))


def test_a_function_by_tile_sees_each_cell_once_with_its_pixels():
    image = paint((200, 420), SEAMS)
    instances = TiledEnsemble(Painted()).predict(image)
    seen = []

    def check(own, pixels):
        assert pixels.shape[:2] == own.image_size
        for frame, (blue,) in zip(frames(own), _blues(own, pixels), strict=True):
            assert (pixels[:, :, 0][frame] == blue).all()
            seen.append(blue)
        return own[own.scores > 0]

    tiles = tile_grid((200, 420), FIELD)
    result = by_tile(check, instances, ArrayPicture(image), tiles)
    assert sorted(seen) == list(range(1, len(SEAMS) + 1))
    assert_each_disc_once(image, result)


def _blues(instances, pixels):
    return [np.unique(pixels[:, :, 0][frame]) for frame in frames(instances)]


def test_only_windows_of_an_image_are_read():
    image = paint((200, 420), SEAMS)
    asked = []

    class Lazy(ArrayPicture):
        def window(self, y0, y1, x0, x1):
            asked.append((y1 - y0, x1 - x0))
            return super().window(y0, y1, x0, x1)

    found = TiledEnsemble(Painted(), progress=False).candidates(Lazy(image), timer=StageTimer())
    assert_each_disc_once(image, found.kept)
    assert set(asked) == {FIELD}
    assert len(asked) == 6


def test_freed_memory_goes_back_while_tiles_are_added_up(monkeypatch):
    returns = []
    monkeypatch.setattr(tiling, "give_back_memory", lambda: returns.append(True))
    TiledEnsemble(Painted(), progress=False).predict(np.zeros((1000, 500, 3), np.uint8))
    assert len(returns) == 40 // tiling.TRIM_EVERY == 2


def test_a_bar_shows_the_tiles_of_an_image_that_has_several(capsys):
    image, timer = np.zeros((100, 280, 3), np.uint8), StageTimer()
    TiledEnsemble(Painted(), progress=False).predict(image, timer)
    TiledEnsemble(Painted(), progress=False).at_scale(1.0).predict(image)
    TiledEnsemble(Painted()).predict(image[:, :140])
    assert capsys.readouterr().err == ""
    assert timer.seconds.keys() == {"read", "seams"}
    TiledEnsemble(Painted()).predict(image)
    shown = capsys.readouterr().err
    assert "tiles:" in shown and "100%" not in shown  # it goes when it is done


def test_a_tile_is_never_nothing():
    """Pixels a hundred thousand times as large as in training."""
    assert len(TiledEnsemble(Painted(), Tiling(image_scale=1e5)).tiles((2, 3))) == 6


def test_what_tiles_take_from_their_ensemble():
    ensemble = Painted()
    tiled = TiledEnsemble(ensemble, Tiling(image_scale=2.0, overlap=8))
    for name in ("class_names", "device", "grey_rule", "views", "post_processing"):
        assert getattr(tiled, name) is getattr(ensemble, name)
    assert tiled.batch_size == 1
    assert tiled.at_scale(0.5).tiling == Tiling(image_scale=0.5, overlap=8)
    ensemble.device = torch.device("cuda")  # only its kind is looked at
    assert TiledEnsemble(ensemble).batch_size == 4


def test_cells_larger_than_the_training_s_are_noted():
    tiled = TiledEnsemble(Painted())
    image = paint(FIELD, [(20 + 25 * i, 25 + 45 * j, 10) for i in range(5) for j in range(2)])
    found = tiled.predict(image)
    inference = tiled.views[0].detector.inference
    inference["cell_diameter"] = {"default": 20.0}
    assert tiled.notes(found) == []
    inference["cell_diameter"] = {"default": 5.0}
    assert "4 times as large" in tiled.notes(found)[0]
    assert "2 times as large" in tiled.at_scale(0.5).notes(found)[0]


def test_the_class_that_decides_about_most_tiles_decides_about_the_image():
    class Deciding(Painted):
        post_processing = SimpleNamespace(
            mask_nms_iou=0.1, confidence={"other": 0.3, "default": 0.5}
        )

        def _find(self, pixels):
            found = super()._find(pixels)
            found.deciding_class = int(pixels[0, 0, 1])
            return found

    image = np.zeros((100, 420, 3), np.uint8)
    image[0, 140, 1] = image[0, 280, 1] = 1
    tiled = TiledEnsemble(Deciding(threshold=0.4))
    found = tiled.candidates(image)
    assert (found.deciding_class, found.threshold) == (1, -np.inf)
    found = tiled.candidates(image, least_score=0.2)
    assert (found.deciding_class, found.threshold) == (1, 0.3)


def test_scripts_do_without_what_only_evaluations_ask_for():
    """What the thresholds themselves would have left is joined when it is asked for."""
    image = paint((100, 280), [(60, 50, 9, 90), (140, 50, 9, 30)])
    tiled, timer = TiledEnsemble(Painted(threshold=0.5)), StageTimer()
    assert tiled.candidates(image).unlowered is None
    tiled.lower_thresholds(0.5)
    (found,) = tiled.detect([tiled.prepare(image, timer)], timer)
    assert found.unlowered is None
    assert len(tiled.finish(found, timer)) == 2
    assert tiled.candidates(image, least_score=0.1).unlowered is None
    assert len(tiled.candidates(image).unlowered) == 1


def test_thresholds_of_an_image_of_several_tiles():
    image = paint((100, 280), [(60, 50, 9, 90), (200, 50, 9, 30), (140, 80, 9, 40)])
    tiled = TiledEnsemble(Painted(threshold=0.5))
    assert len(tiled.predict(image)) == 1
    found = tiled.candidates(image, least_score=0.2)  # an evaluation that searches the threshold
    assert_each_disc_once(image, found.instances)
    assert (found.deciding_class, found.threshold) == (0, 0.5)
    assert len(found.kept) == 1


def test_lowered_thresholds_tell_what_would_be_there_without():
    discs = [(60, 50, 9, 90), (200, 50, 9, 30), (140, 80, 9, 40), (140, 30, 8, 60)]
    image = paint((100, 280), discs)
    tiled = TiledEnsemble(Painted(threshold=0.5))
    expected = tiled.predict(image)
    assert len(expected) == 2
    tiled.lower_thresholds(0.5)
    for ensemble in (tiled, tiled.at_scale(1.0)):
        found = ensemble.candidates(image)
        assert_each_disc_once(image, found.kept)
        np.testing.assert_array_equal(found.unlowered.boxes, expected.boxes)
        np.testing.assert_array_equal(found.unlowered.scores, expected.scores)
    assert tiled.candidates(image[:, :140]).unlowered is None  # one tile: its threshold tells


@pytest.mark.parametrize("scale", [0.5, 1.0, 2.0])
def test_a_rescoring_sees_cells_as_large_as_in_training(scale):
    image = paint((200, 280), [(60, 50, 20, 90), (200, 150, 20, 80), (270, 20, 9, 70)])
    tiled = TiledEnsemble(Painted(), Tiling(image_scale=scale))
    instances = tiled.predict(image)
    areas = []

    def rescore(own, pixels):
        assert pixels.shape[:2] == own.image_size
        found = frames(own)
        areas.extend(frame.sum() for frame in found)
        for frame in found:
            inside = pixels[frame]  # its own colour, but at the outline
            assert (inside == np.median(inside, axis=0)).all(axis=1).mean() > 0.6
        keep = np.array([frame.sum() > 800 * scale**2 for frame in found])
        return replace(own, scores=1 - own.scores)[keep].sorted_by_score()

    result = tiled.rescored(rescore, instances, image)
    expected = sorted(scale**2 * frame.sum() for frame in frames(instances))
    assert sorted(areas) == pytest.approx(expected, rel=0.15)
    assert result.scores.tolist() == pytest.approx([0.2, 0.1])
    for frame, (x, y) in zip(frames(result), [(200, 150), (60, 50)], strict=True):
        assert frame[y, x]
        assert frame.sum() == pytest.approx(np.pi * 20**2, rel=0.05)  # in the image's own pixels
