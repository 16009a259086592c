"""GCNet in the size of a tiny model, with feature maps of other strides than the others'."""

_base_ = "./tiny_resnest.py"

strides = [8, 16, 32]
model = dict(
    backbone=dict(
        _delete_=True,
        type="ResNet",
        depth=50,
        base_channels=8,
        norm_cfg=dict(type="BN"),
        norm_eval=False,
        out_indices=(1, 2, 3),
        plugins=[
            dict(
                cfg=dict(type="ContextBlock", ratio=1 / 4),
                stages=(False, True, True, True),
                position="after_conv3",
            )
        ],
    ),
    neck=dict(in_channels=[64, 128, 256]),
    rpn_head=dict(anchor_generator=dict(strides=[*strides, 64, 128])),
    roi_head=dict(
        bbox_roi_extractor=dict(featmap_strides=strides),
        mask_roi_extractor=dict(featmap_strides=strides),
    ),
)
