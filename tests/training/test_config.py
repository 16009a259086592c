"""Schedules by batch size, written configs, and what makes one run another."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers import CONFIGS, ROOT

from training.config import load_config, scale_schedule, training_pipeline
from training.run_record import check_same_run, describe_run, flatten
from utils.script import InputError

TINY = str(CONFIGS / "tiny_resnest.py")
DEFAULT = str(ROOT / "configs" / "mask_rcnn_resnest200.py")


def test_sgd_s_rate_grows_with_the_batch_and_the_run_shrinks():
    config = load_config(DEFAULT)
    line = scale_schedule(config, 4, None)
    assert config.optimizer.lr == pytest.approx(0.012)
    assert config.max_iters == 7500
    assert config.lr_config.step == [5000]
    assert config.lr_config.warmup_iters == 250
    assert (config.eval_interval, config.checkpoint_interval) == (250, 50)
    assert "learning rate x 4 = 0.012, 7500 iterations" in line


def test_adamw_s_rate_grows_with_the_square_root():
    config = load_config(TINY)
    base = config.optimizer.lr
    scale_schedule(config, 4 * config.base_batch_size, None)
    assert config.optimizer.lr == pytest.approx(2 * base)
    assert config.max_iters == 100


def test_given_iterations_shrink_the_schedule_but_not_the_rate():
    config = load_config(DEFAULT)
    scale_schedule(config, 1, 3000)
    assert config.optimizer.lr == pytest.approx(0.003)
    assert (config.max_iters, config.lr_config.step, config.eval_interval) == (3000, [2000], 100)


def test_intervals_are_never_nothing():
    config = load_config(DEFAULT)
    scale_schedule(config, 10**6, None)
    assert config.max_iters == config.eval_interval == config.checkpoint_interval == 1
    assert config.lr_config.step == [1] and config.lr_config.warmup_iters == 1


@pytest.mark.parametrize("path", [TINY, DEFAULT])
def test_a_written_config_gives_the_same_run_again(path, tmp_path):
    config = load_config(path, ["seed=5"])
    scale_schedule(config, 6, 50)
    written = tmp_path / "config.py"
    config.dump(str(written))
    again = load_config(str(written))
    scale_schedule(again, 6, None)
    assert record(again) == record(config)
    assert again.seed == 5


def record(config, **changed) -> dict:
    options = dict(batch_size=2, processes=1, precision="torch.float32", from_scratch=False)
    return describe_run(config, [Path(__file__)], **{**options, **changed})


def test_another_run_is_named():
    before = record(load_config(TINY))
    check_same_run("x.pth", before, record(load_config(TINY)))
    with pytest.raises(InputError, match=r"optimizer\.lr is 0\.5, was 0\.003"):
        check_same_run("x.pth", before, record(load_config(TINY, ["optimizer.lr=0.5"])))
    with pytest.raises(InputError, match="batch_size is 4, was 2"):
        check_same_run("x.pth", before, record(load_config(TINY), batch_size=4))
    with pytest.raises(InputError, match="processes is 2, was 1.*from_scratch is True, was False"):
        changed = record(load_config(TINY), processes=2, from_scratch=True)
        check_same_run("x.pth", before, changed)
    with pytest.raises(InputError, match="seed is 9"):
        check_same_run("x.pth", before, record(load_config(TINY, ["seed=9"])))
    longer = record(load_config(TINY, ["lr_config.gamma=0.3"]))
    with pytest.raises(InputError, match=r"lr_config\.gamma is 0\.3, was absent"):
        check_same_run("x.pth", before, longer)


def test_what_earlier_versions_wrote_is_told():
    with pytest.raises(InputError, match="earlier version.*--load_from"):
        check_same_run("x.pth", {"live_norm": 0.0}, record(load_config(TINY)))
    with pytest.raises(InputError, match="live_norm has to be a dict"):
        load_config(TINY, ["live_norm=0.5"])


def test_crops_are_resized_as_inference_says():
    config = load_config(TINY, ["inference.resize=pillow"])
    config.augmentation = [dict(type="ResizeToNetwork")]
    (step,) = [s for s in training_pipeline(config) if s["type"] == "ResizeToNetwork"]
    assert step["library"] == "pillow"


def test_steps_that_resample_labels_know_their_offset():
    for options, offset in (([], [0, 0]), (["inference.label_offset=[-0.1,0.5]"], [-0.1, 0.5])):
        config = load_config(TINY, options)
        config.augmentation = [dict(type="ResizeToNetwork"), dict(type="RandomWarp", size=(8, 8))]
        steps = {step["type"]: step for step in training_pipeline(config)}
        for name in ("ResizeToNetwork", "RandomWarp"):
            assert steps[name]["label_offset"] == pytest.approx(offset)


def test_evaluations_do_not_make_another_run():
    check_same_run(
        "x.pth", record(load_config(TINY)), record(load_config(TINY, ["eval_interval=7"]))
    )
    thresholds = ["inference.confidence.default=0.9", "inference.mask_threshold=0.4"]
    check_same_run("x.pth", record(load_config(TINY)), record(load_config(TINY, thresholds)))
    with pytest.raises(InputError, match=r"inference\.short_side is 99"):
        larger = record(load_config(TINY, ["inference.short_side=99"]))
        check_same_run("x.pth", record(load_config(TINY)), larger)


def test_flattening():
    assert flatten({"a": [{"b": 1}, 2], "c": {}}) == {"a.0.b": 1, "a.1": 2}


def test_flattening_to_the_last_value():
    assert flatten(7, "a") == {"a": 7}
    assert flatten({"a": ({"b": [None, "x"]},)}) == {"a.0.b.0": None, "a.0.b.1": "x"}


def test_many_differences_are_counted():
    with pytest.raises(InputError) as caught:
        check_same_run("x.pth", dict.fromkeys("abcdef", 1), dict.fromkeys("bcdefg", 2))
    assert "a is absent, was 1; b is 2, was 1; c is 2" in str(caught.value)
    assert "d is 2, was 1; and 3 more)" in str(caught.value)
    with pytest.raises(InputError, match=r"\(a is 2, was 1; b[^;]*; c[^;]*; d is 2, was 1\)"):
        check_same_run("x.pth", dict.fromkeys("abcd", 1), dict.fromkeys("abcd", 2))


# mmcv's temporary copy of the file
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_configs_that_cannot_be_used(tmp_path):
    path = tmp_path / "config.py"
    with pytest.raises(InputError, match="no such file"):
        load_config(str(path))
    path.write_text("model = (")
    with pytest.raises(InputError, match="not readable"):
        load_config(str(path))
    path.write_text("model = dict()\noptimizer = dict()\nmax_iters = 1")
    with pytest.raises(InputError, match="lacks augmentation, inference, live_norm; start"):
        load_config(str(path))
    with pytest.raises(InputError, match="--cfg-options seed: write KEY=VALUE"):
        load_config(TINY, ["max_iters=3", "seed"])


def test_the_pipeline_normalises_as_inference_does():
    config = load_config(TINY, ["augmentation=[]"])
    config.inference.update(pixel_mean=[1.0, 2.0, 6.0], pixel_std=[2.0, 3.0, 7.0], grey={"a": 1})
    config.augmentation = [{"type": "RandomIntensity", "blur": 2.0}, {"type": "RandomFlip"}]
    steps = training_pipeline(config)
    kinds = ["LoadCellImage", "LoadCellAnnotations", "RandomIntensity", "RandomFlip", "Normalize"]
    assert [step["type"] for step in steps] == [*kinds, "Pad", "DefaultFormatBundle", "Collect"]
    assert steps[0]["grey"] == {"a": 1}
    assert steps[2] == {"type": "RandomIntensity", "blur": 2.0, "mean": 3.0, "std": 4.0}
    assert (steps[4]["mean"], steps[4]["std"]) == ([1, 2, 6], [2, 3, 7])
    assert steps[4]["to_rgb"] is False  # the images are BGR, as the means are
    assert steps[5]["size_divisor"] == config.inference.size_divisor
