"""A slim relative of the default for CPUs and for the bundled models: 7 million parameters.

Trains from random weights in an hour on two cores: half the width, windows of 512 pixels, AdamW.
"""

_base_ = ["_base_/mask_rcnn_resnest_fpn.py", "_base_/cells.py", "_base_/schedule.py"]

channels = 96
inference = dict(short_side=832, long_side=1664, box_merging=dict(nms_iou=0.7, voting_iou=0.6))
model = dict(
    backbone=dict(depth=50, base_channels=32, stem_channels=32, init_cfg=None),
    neck=dict(
        in_channels=[128, 256, 512, 1024],
        out_channels=channels,
        norm_cfg=dict(type="BN", requires_grad=True),
    ),
    rpn_head=dict(
        type="RPNHead",
        in_channels=channels,
        feat_channels=channels,
        anchor_generator=dict(
            strides=[4, 8, 16, 32, 64],
            base_sizes=[12, 24, 48, 96, 192],
            scales=[1.0, 1.41],
            ratios=[0.4, 1.0, 2.5],
        ),
    ),
    roi_head=dict(
        bbox_roi_extractor=dict(out_channels=channels),
        bbox_head=dict(in_channels=channels, fc_out_channels=512, reg_class_agnostic=True),
        mask_roi_extractor=dict(out_channels=channels),
        mask_head=dict(
            in_channels=channels,
            conv_out_channels=channels,
            norm_cfg=dict(type="BN", requires_grad=True),
            class_agnostic=True,
            loss_mask=dict(_delete_=True, type="CrossEntropyDiceLoss"),
        ),
    ),
    train_cfg=dict(
        rpn=dict(sampler=dict(num=512, pos_fraction=0.5)),
        rpn_proposal=dict(nms_pre=1000, max_per_img=1000),
        rcnn=dict(sampler=dict(num=512), soft_mask_target=True),
    ),
    test_cfg=dict(rpn=dict(nms_pre=2000, max_per_img=1500)),
)
augmentation = [
    dict(type="RandomWarp", size=(512, 512), scale=(0.8, 1.25), rotate=False, elastic=(0.0, 1.0)),
    dict(type="RandomIntensity"),
]
base_batch_size = 4
max_iters = 12000
eval_interval = 500
optimizer = dict(_delete_=True, type="AdamW", lr=0.0004, weight_decay=0.05)
lr_config = dict(
    _delete_=True,
    policy="CosineAnnealing",
    min_lr_ratio=0.01,
    warmup="linear",
    warmup_iters=200,
    warmup_ratio=0.01,
)
balance_cell_types = True
