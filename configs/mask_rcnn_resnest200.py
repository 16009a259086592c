"""The default: Mask R-CNN, ResNeSt-200 + FPN, with the solution's recipe."""

_base_ = ["_base_/mask_rcnn_resnest_fpn.py", "_base_/cells.py", "_base_/schedule.py"]
