"""The solution's schedule, in iterations of `base_batch_size` images; `train_cis.py` scales it."""

base_batch_size = 1
max_iters = 30000
eval_interval = 1000
checkpoint_interval = 200  # between checkpoints to resume from
optimizer = dict(type="SGD", lr=0.003, momentum=0.9, weight_decay=0.0001)
grad_clip = dict(max_norm=35, norm_type=2)
lr_config = dict(
    policy="step", step=[20000], gamma=0.1, warmup="linear", warmup_iters=1000, warmup_ratio=0.001
)
# Share of the training in which batch normalisation uses the statistics of the batch, by what the
# training starts from; afterwards, and from the start when it is 0, it uses its running statistics,
# as inference does. Statistics of one image do not stand for those of the data, so 0 is right where
# the running ones mean something; with random weights they must first be learned.
live_norm = dict(checkpoint=0.0, pretrained=0.0, scratch=0.7)
# Of the moving average of the weights that is evaluated and published: share that stays in each
# iteration.
average_decay = 0.999
# Show the images of rare cell types more often, so that every type is seen about equally often.
balance_cell_types = False
log_interval = 50
seed = 67
