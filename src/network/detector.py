"""`Detector`: one model at inference, from an image to boxes and mask probabilities.

The backbone runs once per image: `prepare` and `features` come first, then proposals and boxes from
the feature maps, then masks of any boxes.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from mmcv.runner import BaseModule
from torch import nn

from cells.grey import rule_of
from cells.images import resize
from cells.instances import Boxes
from network.acceleration import accelerate
from network.checkpoints import load_checkpoint, load_weights
from network.descriptions import parameter_limit
from network.label_offset import label_offset
from network.mask_heads import mask_probabilities
from network.models import build_model
from network.scale import network_scale
from utils.script import InputError

MASK_CHUNK = 128  # boxes that the mask head takes at a time; bounds the memory
TRIAL_SIDE = 32  # pixels of the image that a model is tried on


@dataclass(frozen=True)
class NetworkInput:
    """An image as the network takes it.

    Attributes:
        pixels: float32 [height, width, 3], resized, normalised, padded with zeros; on the CPU.
        image_size: (height, width) of the original image in pixels.
        img_meta: mmdet's description of it.
    """

    pixels: torch.Tensor
    image_size: tuple[int, int]
    img_meta: dict


@dataclass(frozen=True)
class FeatureMaps:
    """What the backbone and neck make of one image.

    Attributes:
        maps: feature maps, each [1, channels, height, width], in what the model computes in.
        source: what they were computed from.
    """

    maps: Sequence[torch.Tensor]
    source: NetworkInput


class Detector:
    """A trained model on a device.

    Args:
        model: mmdet two-stage detector with a mask head; it is put into evaluation mode.
        inference: `pixel_mean`, `pixel_std`, `size_divisor` and `confidence`, as in
            `configs/_base_/cells.py`, and the scale, see `network.scale`.
        class_names: in the order of the model's labels.
        device: where the model lies.
        licence: of the weights, where the checkpoint tells it.
    """

    def __init__(
        self,
        model: nn.Module,
        inference: dict,
        class_names: Sequence[str],
        device: torch.device,
        licence: str | None = None,
    ) -> None:
        self.model = model.eval()
        self.inference = inference
        self.grey_rule = rule_of(inference, class_names)
        self.class_names = tuple(class_names)
        self.device = device
        self.licence = licence
        self._box_head = _without_masks(model.roi_head)

    @classmethod
    def load(
        cls, path: str | Path, device: torch.device, dtype: torch.dtype, compile: bool = False
    ) -> Detector:
        """Read a checkpoint and build the model that it describes.

        Raises:
            InputError: the file is missing, no checkpoint of ours, or does not fit its description.
        """
        return cls.from_checkpoint(load_checkpoint(path), path, device, dtype, compile)

    @classmethod
    def from_checkpoint(
        cls,
        checkpoint: dict,
        path: str | Path,
        device: torch.device,
        dtype: torch.dtype,
        compile: bool = False,
    ) -> Detector:
        """Build the model that a checkpoint describes, take its weights, and make it fast.

        Raises:
            InputError: the weights of `path` do not fit the description, or the model cannot run.
        """
        meta, weights = checkpoint["meta"], checkpoint["state_dict"]
        with parameter_limit(sum(value.numel() for value in weights.values())):
            model = build_model(json.loads(meta["model"]), str(path))
        load_weights(model, weights, path, assign=True)
        inference, licence = json.loads(meta["inference"]), meta.get("licence")
        detector = cls(model.to(device), inference, meta["class_names"], device, licence)
        detector._try(path)
        accelerate(model, dtype, compile)
        return detector

    def _try(self, path: str | Path) -> None:
        """Run every part once: a description of known types can still hold impossible numbers.

        Raises:
            InputError: one of them fails.
        """
        trial = Detector(
            self.model, {**self.inference, "scale": 1.0}, self.class_names, self.device
        )
        try:
            image = np.zeros((TRIAL_SIDE, TRIAL_SIDE, 3), np.uint8)
            (features,) = trial.features([trial.prepare(image)])
            trial.boxes(features, trial.proposals(features))
            box = np.array([[0, 0, TRIAL_SIDE, TRIAL_SIDE]], np.float32)
            trial.mask_probabilities(features, box, np.zeros(1, np.int64))
        except Exception as error:  # mmdet raises whatever its modules raise
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise InputError(
                f"{path}: its model cannot be run ({reason}); use a checkpoint of train_cis.py"
            ) from error

    def prepare(self, image: np.ndarray, image_scale: float = 1.0) -> NetworkInput:
        """Resize to the training's scale and normalise.

        Args:
            image: uint8 [height, width, 3], BGR.
            image_scale: size of the image's pixels relative to those of the training images.
        """
        height, width = image.shape[:2]
        resized = self._resize(image, image_scale * network_scale(self.inference))
        new_height, new_width = resized.shape[:2]
        scale = new_width / width, new_height / height
        divisor = self.inference["size_divisor"]
        padded_height = -(-new_height // divisor) * divisor
        padded_width = -(-new_width // divisor) * divisor
        padded = torch.zeros(padded_height, padded_width, 3)
        inside = padded[:new_height, :new_width]
        inside.copy_(torch.from_numpy(resized))
        inside.sub_(torch.tensor(self.inference["pixel_mean"]))
        inside.div_(torch.tensor(self.inference["pixel_std"]))
        img_meta = dict(
            img_shape=(new_height, new_width, 3),
            pad_shape=(padded_height, padded_width, 3),
            ori_shape=image.shape,
            scale_factor=np.array([*scale, *scale], np.float32),
            flip=False,
        )
        return NetworkInput(padded, (height, width), img_meta)

    @torch.inference_mode()
    def features(self, inputs: Sequence[NetworkInput]) -> list[FeatureMaps]:
        """Run backbone and neck on images of the same size, all at once."""
        batch = torch.stack([source.pixels for source in inputs]).to(self.device)
        maps = self.model.extract_feat(batch.permute(0, 3, 1, 2))
        return [
            FeatureMaps([level[i : i + 1] for level in maps], source)
            for i, source in enumerate(inputs)
        ]

    def _resize(self, image: np.ndarray, factor: float) -> np.ndarray:
        height, width = image.shape[:2]
        size = max(1, round(width * factor)), max(1, round(height * factor))
        return resize(image, size, self.inference.get("resize", "opencv"))

    @torch.inference_mode()
    def proposals(self, features: FeatureMaps) -> torch.Tensor:
        """Boxes that may hold something: float32 [N, 5], in network input pixels, with scores."""
        (found,) = self.model.rpn_head.simple_test_rpn(features.maps, [features.source.img_meta])
        return found

    @torch.inference_mode()
    def boxes(self, features: FeatureMaps, proposals: torch.Tensor) -> Boxes:
        """Box heads and class-wise NMS as the model's `test_cfg` says.

        Args:
            features: of the image.
            proposals: [N, 4 or more] in network input pixels.

        Returns:
            Boxes in original pixels, highest score first.
        """
        (per_class,) = self._box_head.simple_test(
            features.maps, [proposals[:, :4]], [features.source.img_meta], rescale=True
        )
        boxes = np.concatenate(per_class)
        labels = np.repeat(np.arange(len(per_class)), [len(rows) for rows in per_class])
        order = np.argsort(-boxes[:, 4], kind="stable")
        return Boxes(boxes[order, :4], boxes[order, 4], labels[order])

    @torch.inference_mode()
    def mask_probabilities(
        self, features: FeatureMaps, boxes: np.ndarray, labels: np.ndarray
    ) -> np.ndarray:
        """Run the mask head on given boxes.

        Args:
            boxes: float32 [N, 4], x1 y1 x2 y2 in original pixels.
            labels: int64 [N], which class's mask to take.

        Returns:
            float32 [N, S, S], probability of foreground on a grid over each box.
        """
        scale = features.source.img_meta["scale_factor"]
        rois = torch.zeros(len(boxes), 5, device=self.device)  # column 0: image 0
        rois[:, 1:] = torch.as_tensor(boxes * scale)
        classes = torch.as_tensor(labels, device=self.device)
        chunks = [
            mask_probabilities(self.model.roi_head, features.maps, *chunk).cpu().numpy()
            for chunk in zip(rois.split(MASK_CHUNK), classes.split(MASK_CHUNK), strict=True)
        ]
        return np.concatenate(chunks)

    def label_offset(self, features: FeatureMaps) -> np.ndarray:
        """How far labels would lie beside the cells, float32 [2], x y in original pixels."""
        scale = features.source.img_meta["scale_factor"][:2]
        return label_offset(self.inference) * network_scale(self.inference) / scale


def _without_masks(roi_head: BaseModule) -> BaseModule:
    """The same RoI head and weights, whose `simple_test` stops at the boxes."""
    box_head = copy.copy(roi_head)
    box_head._modules = {k: v for k, v in roi_head._modules.items() if k != "mask_head"}
    return box_head
