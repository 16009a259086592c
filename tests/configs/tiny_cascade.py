"""Another architecture with a mask head: Cascade Mask R-CNN on a plain ResNet-18."""

_base_ = "./tiny_resnest.py"

model = dict(
    type="CascadeRCNN",
    backbone=dict(
        _delete_=True,
        type="ResNet",
        depth=18,
        base_channels=8,
        norm_cfg=dict(type="BN"),
        norm_eval=False,
        out_indices=(0, 1, 2, 3),
    ),
    neck=dict(in_channels=[8, 16, 32, 64]),
    roi_head=dict(
        type="CascadeRoIHead",
        num_stages=2,
        stage_loss_weights=[1.0, 0.5],
        bbox_head=[
            dict(
                type="Shared2FCBBoxHead",
                in_channels=32,
                fc_out_channels=64,
                roi_feat_size=7,
                num_classes=3,
                reg_class_agnostic=True,
                bbox_coder=dict(
                    type="DeltaXYWHBBoxCoder", target_means=[0.0] * 4, target_stds=stds
                ),
                loss_cls=dict(type="CrossEntropyLoss", use_sigmoid=False),
                loss_bbox=dict(type="L1Loss"),
            )
            for stds in ([0.1, 0.1, 0.2, 0.2], [0.05, 0.05, 0.1, 0.1])
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
                    ignore_iof_thr=0.5,
                ),
                sampler=dict(
                    type="RandomSampler", num=64, pos_fraction=0.25, add_gt_as_proposals=True
                ),
                mask_size=28,
                pos_weight=-1,
                debug=False,
            )
            for iou in (0.5, 0.6)
        ]
    ),
)
