"""A Swin transformer in the size of a tiny model; one stage has a shifted window."""

_base_ = "./tiny_resnest.py"

model = dict(
    backbone=dict(
        _delete_=True,
        type="SwinTransformer",
        embed_dims=16,
        depths=(2, 1, 1, 1),
        num_heads=(1, 2, 4, 8),
        window_size=7,
    ),
    neck=dict(in_channels=[16, 32, 64, 128]),
)
