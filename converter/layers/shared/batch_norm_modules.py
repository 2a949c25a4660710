"""PyTorch modules of BatchNorm, for what PyTorch's own cannot do: Caffe's way of training, and a batch of one value."""

from __future__ import annotations

BATCH_STATISTICS = '''
class BatchStatistics(nn.Module):
    """Normalisation by the mean and variance of the batch at hand, be it of one value."""

    def __init__(self, channels, eps, affine=False):
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(channels)) if affine else None
        self.bias = nn.Parameter(torch.zeros(channels)) if affine else None

    def forward(self, x):
        rows = x.unsqueeze(1) if x.dim() == 1 else x
        axes = [axis for axis in range(rows.dim()) if axis != 1]
        centred = rows - rows.mean(axes, keepdim=True)
        y = centred / (centred.square().mean(axes, keepdim=True) + self.eps).sqrt()
        if self.weight is not None:
            shape = [1, -1] + [1] * (rows.dim() - 2)
            y = y * self.weight.view(shape) + self.bias.view(shape)
        return y.view_as(x)
'''


CAFFE_BATCH_NORM = '''
class CaffeBatchNorm(nn.Module):
    """Batch normalisation as Caffe trains it; its blobs are Caffe's own.

    While training it divides by the batch's biased deviation, and adds mean and unbiased variance to sums that decay by
    `fraction` with each batch; `scale_factor` is the sum of the weights. Otherwise it takes the sums' averages.
    `use_global_stats` is what the net says: True keeps the averages while training, False the batch's at all times.

    Of NVIDIA's and Intel's Caffe are `learned`, scale (gamma) and bias (beta) inside, and `factor_of_none`, by which a
    factor of 0 counts. With `average` (NVIDIA's) mean and biased variance move to each batch's by 1 - `fraction`, in
    the first two batches wholly. Without `stored` (Intel's of 2016) there are no sums: each batch counts for itself.
    """

    def __init__(
        self,
        channels,
        eps=1e-5,
        fraction=0.999,
        use_global_stats=None,
        learned=(),
        average=False,
        factor_of_none=0.0,
        stored=True,
    ):
        super().__init__()
        self.eps, self.fraction, self.use_global_stats = eps, fraction, use_global_stats
        self.average, self.factor_of_none, self.batches, self.stored = average, factor_of_none, 0, stored
        if stored:
            self.register_buffer("mean", torch.zeros(channels))
            self.register_buffer("variance", torch.zeros(channels))
            self.register_buffer("scale_factor", torch.zeros(1))
        self.gamma = nn.Parameter(torch.ones(channels)) if "gamma" in learned else None
        self.beta = nn.Parameter(torch.zeros(channels)) if "beta" in learned else None

    def forward(self, x):
        rows = x.unsqueeze(1) if x.dim() == 1 else x
        shape = [1, -1] + [1] * (rows.dim() - 2)
        of_batch = self.training if self.use_global_stats is None else not self.use_global_stats
        if self.stored and not of_batch:
            factor = torch.where(self.scale_factor == 0, self.factor_of_none, 1 / self.scale_factor)
            mean, variance = self.mean * factor, self.variance * factor
            y = (rows - mean.view(shape)) / (variance.view(shape) + self.eps).sqrt()
            return self._scaled(y, shape).view_as(x)
        axes = [axis for axis in range(rows.dim()) if axis != 1]
        mean = rows.mean(axes)
        centred = rows - mean.view(shape)
        variance = centred.square().mean(axes)
        if self.training and self.stored:
            self._accumulate(mean.detach(), variance.detach(), rows.numel() // rows.shape[1])
        y = centred / (variance.view(shape) + self.eps).sqrt()
        return self._scaled(y, shape).view_as(x)

    def _scaled(self, y, shape):
        y = y if self.gamma is None else y * self.gamma.view(shape)
        return y if self.beta is None else y + self.beta.view(shape)

    def _accumulate(self, mean, variance, values):
        if self.average:
            share = 1 - self.fraction if self.batches > 1 else 1
            self.batches += 1
            self.scale_factor.fill_(1)
            self.mean.lerp_(mean, share)
            self.variance.lerp_(variance, share)
            return
        unbiased = values / (values - 1) if values > 1 else 1
        self.scale_factor.mul_(self.fraction).add_(1)
        self.mean.mul_(self.fraction).add_(mean)
        self.variance.mul_(self.fraction).add_(variance, alpha=unbiased)
'''
