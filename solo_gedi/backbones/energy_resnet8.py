"""The 8-layer residual network without normalisation of Table 4."""

import torch.nn.functional as F
from torch import Tensor, nn

SLOPE = 0.2


class PooledConv2d(nn.Conv2d):
    """A 3x3 convolution whose output is average-pooled by 2, in one: a 4x4 one of stride 2.

    The mean of a 3x3 kernel's four shifts is a 4x4 kernel. Applied at every other pixel it gives
    what pooling after the convolution gives, for 16 instead of 36 products. To be built with the
    arguments of the 3x3 convolution: kernel size 3, padding 1.
    """

    def forward(self, input: Tensor) -> Tensor:
        """(n, in_channels, h, w) -> (n, out_channels, h // 2, w // 2)."""
        kernel = F.avg_pool2d(self.weight, 2, stride=1, padding=1)
        return F.conv2d(input, kernel, self.bias, stride=2, padding=1)


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions beside a shortcut, both average-pooled by 2 where `pool` is set.

    Args:
        in_channels: input channels; a 1x1 convolution in the shortcut where they change.
        channels: output channels.
        pool: whether to halve height and width.
        first: leaves out the activation in front, which an image must not pass.
    """

    def __init__(
        self, in_channels: int, channels: int, *, pool: bool = False, first: bool = False
    ) -> None:
        super().__init__()
        self.activation_in = nn.Identity() if first else nn.LeakyReLU(SLOPE)
        self.conv1 = nn.Conv2d(in_channels, channels, 3, padding=1)
        convolution = PooledConv2d if pool else nn.Conv2d
        self.conv2 = convolution(channels, channels, 3, padding=1)
        self.pool = nn.AvgPool2d(2) if pool else nn.Identity()
        same = in_channels == channels
        self.shortcut = nn.Identity() if same else nn.Conv2d(in_channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(n, in_channels, h, w) -> (n, channels, h', w')."""
        residual = F.leaky_relu(self.conv1(self.activation_in(x)), SLOPE)
        return self.conv2(residual) + self.shortcut(self.pool(x))


class EnergyResNet8(nn.Module):
    """Table 4: four residual blocks, the first two pooled, then a global average.

    The paper's table shows a shortcut in the first block only and leaves the last activation
    out; the public code of its reference [7] has both, and the parameter counts agree (1.04 M at
    width 128, 4.14 M at 256). No layer mixes the batch.

    Args:
        width: F, channels of every block and size of the features.
        in_channels: 3 for colour, 1 for grey images.

    Attributes:
        num_features: size of the features, as solo-learn asks of a backbone.
        min_size: smallest height and width the network takes.
    """

    min_size = 4

    def __init__(self, width: int = 128, in_channels: int = 3) -> None:
        super().__init__()
        self.num_features = width
        self.blocks = nn.Sequential(
            ResidualBlock(in_channels, width, pool=True, first=True),
            ResidualBlock(width, width, pool=True),
            ResidualBlock(width, width),
            ResidualBlock(width, width),
        )
        convolutions = [m for m in self.modules() if isinstance(m, nn.Conv2d)]
        for conv in convolutions:
            # Nothing normalises the activations, so the weights must: Xavier, as in [7].
            gain = 1.0 if conv is convolutions[0] else nn.init.calculate_gain("relu")
            nn.init.xavier_uniform_(conv.weight, gain=gain)
            if conv.bias is not None:
                nn.init.zeros_(conv.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Images (n, in_channels, h, w), h and w at least 4 -> features (n, width)."""
        return F.leaky_relu(self.blocks(x), SLOPE).mean((2, 3))
