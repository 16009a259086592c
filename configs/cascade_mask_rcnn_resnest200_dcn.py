"""The published architecture: Cascade Mask R-CNN, ResNeSt-200 with deformable convolutions.

`convert_detectron2.py` brings the gold-medal weights into it. What differs from the default:
"""

_base_ = "./mask_rcnn_resnest200.py"

# The published models were trained on images resized by Pillow, which rounds differently from
# OpenCV.
inference = dict(long_side=4000, resize="pillow", pixel_mean=[128.0] * 3, pixel_std=[11.578] * 3)
norm_cfg = dict(type="BN", requires_grad=True)
# dw and dh are limited from above only, as in Detectron2
box_coder = "UpperClampedBBoxCoder"
model = dict(
    type="CascadeRCNN",
    backbone=dict(
        dcn=dict(type="PortableDCNv2", deform_groups=2),
        stage_with_dcn=(False, True, True, True),
    ),
    neck=dict(norm_cfg=norm_cfg),
    rpn_head=dict(anchor_generator=dict(scales=[1.0]), bbox_coder=dict(type=box_coder)),
    roi_head=dict(
        type="OneMaskHeadCascadeRoIHead",
        num_stages=3,
        stage_loss_weights=[1.0, 1.0, 1.0],
        bbox_head=[
            dict(
                type="ProbabilityBBoxHead",
                num_shared_convs=4,
                num_shared_fcs=1,
                in_channels=256,
                conv_out_channels=256,
                fc_out_channels=1024,
                roi_feat_size=7,
                num_classes=3,
                norm_cfg=norm_cfg,
                reg_class_agnostic=True,
                bbox_coder=dict(
                    type=box_coder,
                    target_means=[0.0] * 4,
                    target_stds=[1 / xy, 1 / xy, 1 / wh, 1 / wh],
                ),
                loss_cls=dict(type="CrossEntropyLoss", use_sigmoid=False, loss_weight=1.0),
                loss_bbox=dict(type="L1Loss", loss_weight=1.0),
            )
            for xy, wh in ((10, 5), (20, 10), (30, 15))
        ],
        mask_head=dict(num_convs=8, norm_cfg=norm_cfg),
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
                    type="RandomSampler", num=1024, pos_fraction=0.25, add_gt_as_proposals=True
                ),
                mask_size=28,
                pos_weight=-1,
                debug=False,
            )
            for iou in (0.5, 0.6, 0.7)
        ]
    ),
)
