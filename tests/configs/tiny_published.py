"""The published architecture's modules in the size of a tiny model."""

_base_ = "./tiny_resnest.py"

norm_cfg = dict(type="BN", requires_grad=True)
box_coder = "UpperClampedBBoxCoder"
inference = dict(resize="pillow")
model = dict(
    type="CascadeRCNN",
    backbone=dict(
        dcn=dict(type="PortableDCNv2", deform_groups=2),
        stage_with_dcn=(False, True, True, True),
    ),
    rpn_head=dict(
        type="FinestTwiceRPNHead",
        anchor_generator=dict(strides=[4, 4, 8, 16, 32, 64], base_sizes=[6, 10, 16, 32, 64, 96]),
        bbox_coder=dict(type=box_coder),
    ),
    roi_head=dict(
        type="OneMaskHeadCascadeRoIHead",
        num_stages=2,
        stage_loss_weights=[1.0, 0.5],
        bbox_head=[
            dict(
                type="ProbabilityBBoxHead",
                num_shared_convs=1,
                num_shared_fcs=1,
                in_channels=32,
                conv_out_channels=32,
                fc_out_channels=64,
                roi_feat_size=7,
                num_classes=3,
                norm_cfg=norm_cfg,
                reg_class_agnostic=True,
                bbox_coder=dict(type=box_coder, target_means=[0.0] * 4, target_stds=stds),
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
