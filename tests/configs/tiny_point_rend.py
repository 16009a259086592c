"""PointRend's heads in the size of a tiny model."""

_base_ = "./tiny_resnest.py"

model = dict(
    type="PointRend",
    roi_head=dict(
        type="CellPointRendRoIHead",
        mask_roi_extractor=dict(
            _delete_=True,
            type="GenericRoIExtractor",
            aggregation="concat",
            roi_layer=dict(type="SimpleRoIAlign", output_size=14),
            out_channels=32,
            featmap_strides=[4],
        ),
        mask_head=dict(
            _delete_=True,
            type="CoarseMaskHead",
            num_fcs=1,
            in_channels=32,
            conv_out_channels=32,
            fc_out_channels=64,
            num_classes=3,
            loss_mask=dict(type="CrossEntropyLoss", use_mask=True),
        ),
        point_head=dict(
            type="CropMaskPointHead", num_fcs=2, in_channels=32, fc_channels=32, num_classes=3
        ),
    ),
    train_cfg=dict(
        rcnn=dict(mask_size=7, num_points=49, oversample_ratio=3, importance_sample_ratio=0.75)
    ),
    test_cfg=dict(rcnn=dict(subdivision_steps=3, subdivision_num_points=196, scale_factor=2)),
)
