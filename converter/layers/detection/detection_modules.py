"""Source of the PyTorch modules that find SSD's detections (detection_output.py), and those of its forks."""

from __future__ import annotations

NOTHING_FOUND = '''
def nothing_found(images, columns):
    """A row of its number and -1 for each image."""
    return torch.tensor([[image] + [-1] * (columns - 1) for image in range(images)])[None, None]
'''

DETECTION_OUTPUT = '''
class DetectionOutput(nn.Module):
    """Rows of image, class, score and corners; one of -1 for each image if there are none (Caffe's SSD branch)."""

    def __init__(self, decode, labels, floor=None, limit=0.3, top_k=None, keep_top_k=None, encoded=False):
        super().__init__()
        self.decode, self.labels, self.encoded = decode, labels, encoded
        self.floor = torch.finfo(torch.float32).min if floor is None else floor
        self.limit, self.top_k, self.keep_top_k = limit, top_k, keep_top_k

    def forward(self, offsets, scores, priors):
        images, count = len(offsets), priors.shape[2] // 4
        scores = scores.reshape(images, count, -1)
        prior, variance = priors.reshape(2, count, 1, 4)
        boxes = self.boxes(offsets.reshape(images, count, -1), prior, variance)  # one for each class, or for all
        return self.rows(boxes.expand(-1, -1, scores.shape[2], -1), scores)

    def boxes(self, offsets, prior, variance):
        offsets = offsets.unflatten(2, (-1, 4))
        return self.decode(prior, offsets if self.encoded else variance * offsets)

    def rows(self, boxes, scores):
        rows = [self.of_image(image, boxes[image], scores[image]) for image in range(len(scores))]
        if not any(map(len, rows)):
            rows = [scores.new_tensor([[image] + [-1] * (2 + boxes.shape[3])]) for image in range(len(scores))]
        return torch.cat(rows)[None, None]

    def of_image(self, image, boxes, scores):
        rows = []
        for label in self.labels:
            order = scores[:, label].argsort(descending=True, stable=True)[: self.top_k]
            order = order[scores[order, label] > self.floor]
            kept = order[suppress(boxes[order, label, :4], self.limit)]
            head = boxes.new_tensor([image, label]).expand(len(kept), 2)
            rows.append(torch.cat([head, scores[kept, label, None], boxes[kept, label]], dim=1))
        rows = torch.cat(rows)
        best = rows[:, 2].argsort(descending=True, stable=True)[: self.keep_top_k]
        return rows[best.sort().values]
'''

SHAPED = '''
class ShapeDetectionOutput(DetectionOutput):
    """With the numbers of a shape behind each row's corners (TextBoxes++)."""

    def __init__(self, *arguments, shape, values, **words):
        super().__init__(*arguments, **words)
        self.shape, self.values = shape, values

    def boxes(self, offsets, prior, variance):
        offsets = offsets.unflatten(2, (-1, self.values))
        boxes = self.decode(prior, variance * offsets[..., :4])
        return torch.cat([boxes, self.shape(prior, variance, offsets[..., 4:])], dim=-1)
'''

PLACED = '''
class PlacedDetectionOutput(DetectionOutput):
    """With anchor, column and row of its place behind each row's corners (OpenVINO's training toolbox)."""

    def forward(self, offsets, scores, priors):
        images, rows, columns, values = offsets.shape
        axes = (torch.arange(size, device=offsets.device) for size in (rows, columns, values // 4))
        row, column, anchor = torch.meshgrid(*axes, indexing="ij")
        places = torch.stack([anchor, column, row], dim=-1).reshape(1, -1, 1, 3).to(offsets)
        prior, variance = priors.reshape(2, -1, 1, 4)
        boxes = self.boxes(offsets.reshape(images, len(prior), 4), prior, variance)
        boxes = torch.cat([boxes, places.expand(images, -1, -1, -1)], dim=-1)
        scores = scores.reshape(images, len(prior), -1)
        return self.rows(boxes.expand(-1, -1, scores.shape[2], -1), scores)
'''

REFINED = '''
class RefinedDetectionOutput(DetectionOutput):
    """Prior boxes are moved first, and those where there is hardly anything find the first class alone (RefineDet)."""

    def __init__(self, *arguments, objectness, **words):
        super().__init__(*arguments, **words)
        self.objectness = objectness

    def forward(self, offsets, scores, priors, objects, moves=None):
        images, count = len(offsets), priors.shape[2] // 4
        poor = objects.reshape(images, count, 2)[..., 1:] < self.objectness
        scores = scores.reshape(images, count, -1)
        scores = torch.where(poor, torch.eye(scores.shape[2])[0].to(scores), scores)
        prior, variance = priors.reshape(2, count, 1, 4)
        if moves is not None:
            prior = super().boxes(moves.reshape(images, count, -1), prior, variance)
        boxes = self.boxes(offsets.reshape(images, count, -1), prior, variance)
        return self.rows(boxes.expand(-1, -1, scores.shape[2], -1), scores)
'''

CLIPPED_ROWS = '''
def clipped_rows(rows):
    """Rows with their corners within the image, or one of -1 where nothing was found (TextBoxes)."""
    if rows[0, 0, 0, 1] < 0:
        return torch.full_like(rows[:, :, :1], -1)
    return torch.cat([rows[..., :3], rows[..., 3:].clamp(0, 1)], dim=-1)
'''
