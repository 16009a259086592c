"""The slim config with a cascade of two box heads: what limits it is how well its boxes fit."""

_base_ = "./mask_rcnn_resnest50_slim.py"

channels = 96
model = dict(
    type="CascadeRCNN",
    roi_head=dict(
        type="OneMaskHeadCascadeRoIHead",
        num_stages=2,
        stage_loss_weights=[1.0, 1.0],
        mask_stage=1,
        mask_samples=64,
        bbox_head=[
            dict(
                type="ProbabilityBBoxHead",
                num_shared_fcs=2,
                in_channels=channels,
                fc_out_channels=288,
                roi_feat_size=7,
                num_classes=3,
                reg_class_agnostic=True,
                bbox_coder=dict(
                    type="DeltaXYWHBBoxCoder",
                    target_means=[0.0] * 4,
                    target_stds=[1 / xy, 1 / xy, 1 / wh, 1 / wh],
                ),
                loss_cls=dict(type="CrossEntropyLoss", use_sigmoid=False, loss_weight=1.0),
                loss_bbox=dict(type="L1Loss", loss_weight=1.0),
            )
            for xy, wh in ((10, 5), (20, 10))
        ],
    ),
    train_cfg=dict(
        rcnn=[
            dict(
                assigner=dict(
                    type="SparingAssigner",
                    pos_iou_thr=iou,
                    neg_iou_thr=iou,
                    min_pos_iou=iou,
                    match_low_quality=False,
                    ignore_iof_thr=0.5,
                    iou_calculator=dict(type="BlockedBboxOverlaps2D"),
                ),
                sampler=dict(
                    type="RandomSampler", num=512, pos_fraction=0.5, add_gt_as_proposals=True
                ),
                mask_size=28,
                soft_mask_target=True,
                pos_weight=-1,
                debug=False,
            )
            for iou in (0.5, 0.6)
        ]
    ),
)
