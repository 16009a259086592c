"""The slim config, shrunk until a training takes seconds."""

_base_ = "../../configs/mask_rcnn_resnest50_slim.py"

inference = dict(
    pixel_mean=[128.0] * 3,
    pixel_std=[11.578] * 3,
    short_side=96,
    long_side=192,
    scale=1.0,
    field=(96, 128),
    confidence=dict(_delete_=True, default=0.5),
)
model = dict(
    backbone=dict(base_channels=8, stem_channels=8),
    neck=dict(in_channels=[32, 64, 128, 256], out_channels=32),
    rpn_head=dict(
        in_channels=32,
        feat_channels=32,
        anchor_generator=dict(base_sizes=[10, 16, 32, 64, 96], ratios=[1.0]),
    ),
    roi_head=dict(
        bbox_roi_extractor=dict(out_channels=32),
        bbox_head=dict(in_channels=32, fc_out_channels=64),
        mask_roi_extractor=dict(out_channels=32),
        mask_head=dict(in_channels=32, conv_out_channels=32, num_convs=2),
    ),
    train_cfg=dict(
        rpn=dict(sampler=dict(num=64)),
        rpn_proposal=dict(nms_pre=200, max_per_img=100),
        rcnn=dict(sampler=dict(num=64)),
    ),
    test_cfg=dict(rpn=dict(nms_pre=200, max_per_img=100)),
)
augmentation = [dict(type="RandomWarp", size=(96, 96), scale=(0.9, 1.1), elastic=(0.0, 0.3))]
base_batch_size = 2
max_iters = 400
eval_interval = 100
optimizer = dict(lr=0.003)
lr_config = dict(warmup_iters=10)
log_interval = 10
