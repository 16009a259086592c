"""Mask R-CNN on GCNet (Cao et al. 2019): ResNet-101 with global context in stages 3 to 5."""

_base_ = "./mask_rcnn_resnest200.py"

model = dict(
    backbone=dict(
        _delete_=True,
        type="ResNet",
        depth=101,
        num_stages=4,
        out_indices=(0, 1, 2, 3),
        frozen_stages=-1,
        norm_cfg=dict(type="BN", requires_grad=True),
        norm_eval=False,  # see `live_norm` in schedule.py
        style="pytorch",
        plugins=[
            dict(
                cfg=dict(type="ContextBlock", ratio=1 / 16),
                stages=(False, True, True, True),
                position="after_conv3",
            )
        ],
        init_cfg=dict(type="Pretrained", checkpoint="torchvision://resnet101"),
    ),
)
