r"""Where models lose cells: in their proposals, boxes or masks; on the CPU, in fp32.

    python benchmarks/benchmark_stages.py --image_dir data/images \
        --annotation_dir data/my_annotations --weights models/a.pth

For each model and cell type the share of true cells that a stage reaches with an IoU of at least
0.5 and 0.75: the best proposal, box (of any score) and mask (of the boxes with a score of at least
0.05), and the mask that is drawn in the true box. Then the competition's mAP of the model, and what
it would be of masks in the true boxes. A stage that is far below the next one's limit is where more
training, or another architecture, has something to gain.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))
from tables import markdown
from validation import add_validation_options, prepare

from utils.options import script_parser
from utils.paths import split_paths
from utils.script import quiet_libraries, run_script

if TYPE_CHECKING:
    import numpy as np

    from cells.annotations import AnnotatedImage
    from cells.instances import Boxes, Instances
    from network.detector import FeatureMaps
    from network.ensemble import Ensemble

LEAST_SCORE = 0.05
IOUS = (0.5, 0.75)


def parse_args() -> argparse.Namespace:
    parser = script_parser(__doc__)
    add_validation_options(parser)
    return parser.parse_args()


def main(args: argparse.Namespace) -> None:
    quiet_libraries()
    import torch

    from evaluation.evaluator import for_each_image
    from network.ensemble import load_ensemble

    truth = prepare(args)
    for path in split_paths(args.weights):
        model = load_ensemble([path], torch.device("cpu"), torch.float32)
        look = partial(examine, model)
        images = for_each_image(look, truth.images, grey_rule=model.grey_rule)
        print(f"\n{table(images, truth.class_names, Path(path).name)}")


def table(images: Sequence[dict], class_names: Sequence[str], model: str) -> str:
    """A row for each cell type, from what `examine` gave for each image."""
    rows = []
    for label, name in enumerate(class_names):
        own = [image for image in images if image["type"] == label]
        if own:
            rows.append((name, str(len(own)), *summary(own)))
    stages = ("proposal", "box", "mask", "mask in the true box")
    return markdown((model, "images", *stages, "mAP", "mAP in true boxes"), rows)


def examine(model: Ensemble, record: AnnotatedImage, image: np.ndarray) -> dict[str, np.ndarray]:
    """IoU of every true cell by stage, float [cells], and the two scores, of one image."""
    import numpy as np

    from cells.instances import Boxes
    from evaluation.metrics import compare_instances
    from network.box_pairs import box_ious
    from network.label_offset import moved_to_labels

    view = model.views[0]
    (features,) = view.detector.features([view.prepare(image)])
    proposals = view.detector.proposals(features)
    found = view.boxes(features, proposals)
    found = found[found.labels == record.cell_type]
    cells = ~record.iscrowd
    true = Boxes(record.boxes[cells], np.ones(cells.sum(), np.float32), record.labels[cells])
    in_true = draw(model, features, true)
    proposed = moved_to_labels(
        proposals[:, :4].numpy() / features.source.img_meta["scale_factor"],
        view.detector.label_offset(features),
        features.source.image_size,
    )
    return {
        "type": record.cell_type,
        "proposal": box_ious(proposed, true.boxes).max(0, initial=0),
        "box": box_ious(found.boxes, true.boxes).max(0, initial=0),
        "mask": mask_ious(
            draw(model, features, found[found.scores >= LEAST_SCORE]), record.cell_rles
        ).max(0, initial=0),
        "in true box": np.diag(mask_ious(in_true, record.cell_rles)),
        "mAP": compare_instances(model.predict(image), record).score().ap,
        "mAP in true boxes": compare_instances(in_true, record).score().ap,
    }


def draw(model: Ensemble, features: FeatureMaps, boxes: Boxes) -> Instances:
    """Masks of boxes of one class as the model draws them, before the mask NMS."""
    from cells.instances import Instances
    from cells.masks import drawn_at
    from network.merging import class_threshold, mean_masks

    size = features.source.image_size
    if not len(boxes):
        return Instances.empty(size)
    masks = model.views[0].mask_probabilities(features, boxes)
    threshold = class_threshold(
        model.post_processing.mask_threshold, model.class_names[boxes.labels[0]]
    )
    return drawn_at(mean_masks(boxes, [masks], size), threshold)


def mask_ious(instances: Instances, rles: list[dict]) -> np.ndarray:
    """IoU of every mask, whatever others cover of it, with every true one, float [N, M]."""
    import numpy as np
    from pycocotools import mask as coco_mask

    from cells.rle import to_rles

    if not (len(instances) and rles):
        return np.zeros((len(instances), len(rles)))
    return coco_mask.iou(to_rles(instances), rles, [0] * len(rles))


def summary(images: list[dict]) -> list[str]:
    """Cells of a table for the images of one type."""
    import numpy as np

    shares = []
    for stage in ("proposal", "box", "mask", "in true box"):
        ious = np.concatenate([image[stage] for image in images])
        shares.append(" / ".join(f"{(ious >= least).mean():.2f}" for least in IOUS))
    scores = [np.mean([image[name] for image in images]) for name in ("mAP", "mAP in true boxes")]
    return [*shares, *(f"{score:.3f}" for score in scores)]


if __name__ == "__main__":
    run_script(main, parse_args())
