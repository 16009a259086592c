"""Mask R-CNN on a Swin transformer (Liu et al. 2021), which is trained with AdamW."""

_base_ = "./mask_rcnn_resnest200.py"

model = dict(
    backbone=dict(
        _delete_=True,
        type="SwinTransformer",
        embed_dims=96,
        depths=(2, 2, 18, 2),
        num_heads=(3, 6, 12, 24),
        window_size=7,
        drop_path_rate=0.2,
        convert_weights=True,
        init_cfg=dict(
            type="Pretrained",
            checkpoint="https://github.com/SwinTransformer/storage/releases/download/v1.0.0/"
            "swin_small_patch4_window7_224.pth",
        ),
    ),
    neck=dict(in_channels=[96, 192, 384, 768]),
)
optimizer = dict(_delete_=True, type="AdamW", lr=0.00003, weight_decay=0.05)
