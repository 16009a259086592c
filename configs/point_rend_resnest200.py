"""PointRend (Kirillov et al. 2020): the default with a coarse mask, refined point by point."""

_base_ = "./mask_rcnn_resnest200.py"

model = dict(
    type="PointRend",
    roi_head=dict(
        type="CellPointRendRoIHead",
        mask_roi_extractor=dict(
            _delete_=True,
            type="GenericRoIExtractor",
            aggregation="concat",
            roi_layer=dict(type="SimpleRoIAlign", output_size=14),
            out_channels=256,
            featmap_strides=[4],
        ),
        mask_head=dict(
            _delete_=True,
            type="CoarseMaskHead",
            num_fcs=2,
            in_channels=256,
            conv_out_channels=256,
            fc_out_channels=1024,
            num_classes=3,
            loss_mask=dict(type="CrossEntropyLoss", use_mask=True, loss_weight=1.0),
        ),
        point_head=dict(
            type="CropMaskPointHead",
            num_fcs=3,
            in_channels=256,
            fc_channels=256,
            num_classes=3,
            coarse_pred_each_layer=True,
            loss_point=dict(type="CrossEntropyLoss", use_mask=True, loss_weight=1.0),
        ),
    ),
    train_cfg=dict(
        rcnn=dict(mask_size=7, num_points=196, oversample_ratio=3, importance_sample_ratio=0.75)
    ),
    # three doublings of 7 x 7: cells are 15 to 100 pixels here, objects of COCO have five
    test_cfg=dict(rcnn=dict(subdivision_steps=3, subdivision_num_points=784, scale_factor=2)),
)
