"""What the networks see of the Sartorius images, in training and in inference."""

# How inference prepares an image; travels inside every checkpoint. Training normalises alike.
inference = dict(
    short_side=1024,  # a training image's short side becomes this many pixels,
    long_side=2000,  # unless its long side would become longer than this; see network/scale.py
    # How grey values of any file become those that the networks know, see cells/grey.py:
    # dict(background=128, spread=7.5, background_range=[128, 128], spread_range=[2, 32],
    #      skewness_range=[-3, 0.3])
    # 8-bit images keep their values, but for a background or a spread outside of the ranges, which
    # is brought to their nearest end; deeper images get `background` and `spread`, unless they are
    # 8-bit images stored in other numbers. None: made from the training images.
    grey=None,
    pixel_mean=None,  # mean and standard deviation of the grey values, blue green red;
    pixel_std=None,  # None: estimated from the training images
    size_divisor=32,
    # label_offset=[x, y]: how far the labels lie beside the cells, in pixels of the training images
    # to the right and down, where an evaluation says so; see network/label_offset.py
    # Of all models' boxes of a class with a larger IoU than `nms_iou` only the best stays. It moves
    # to the mean of the boxes with a larger IoU than `voting_iou`; None: it stays where it is.
    box_merging=dict(nms_iou=0.99, voting_iou=None),
    # Least score that an instance needs, chosen by the image's most frequent predicted class.
    confidence=dict(shsy5y=0.5, astro=0.7, cort=0.8, default=0.5),
    # Least probability of a foreground pixel, chosen alike.
    mask_threshold=dict(default=0.5),
)

# Steps of the training pipeline between loading and normalisation: the solution's.
augmentation = [
    dict(
        type="RandomCrop",
        crop_type="relative_range",  # each side between 0.8 and 1.0 of the image's
        crop_size=(0.8, 0.8),
        allow_negative_crop=True,
        recompute_bbox=True,
    ),
    dict(type="ResizeToNetwork"),
    dict(type="RandomFlip", flip_ratio=0.5),
    dict(type="FilterAnnotations", by_mask=True, min_gt_bbox_wh=(1, 1), keep_empty=False),
]
