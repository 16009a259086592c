"""Schedules by batch size, written configs, and what makes one run another."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers import CONFIGS, ROOT

from training.config import load_config, scale_schedule
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
    scale_schedule(config, 30000, None)
    assert config.max_iters == config.eval_interval == config.checkpoint_interval == 1


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


def test_evaluations_do_not_make_another_run():
    check_same_run(
        "x.pth", record(load_config(TINY)), record(load_config(TINY, ["eval_interval=7"]))
    )


def test_flattening():
    assert flatten({"a": [{"b": 1}, 2], "c": {}}) == {"a.0.b": 1, "a.1": 2}
