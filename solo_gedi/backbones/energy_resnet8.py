"""The paper's 8-layer residual network without normalisation (Table 4)."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

SLOPE = 0.2


class PooledConv2d(nn.Conv2d):
    """A 3x3 convolution and average pooling by 2 in one: a 4x4 convolution of stride 2.

    The mean of a 3x3 kernel's four shifts is a 4x4 kernel. Applied at every other pixel it gives
    what pooling after the convolution gives, with 16 instead of 36 products. Build it with the
    arguments of the 3x3 convolution: kernel size 3, padding 1.

    Example:
        >>> import torch
        >>> layer, x = PooledConv2d(3, 5, 3, padding=1), torch.randn(1, 3, 8, 8)
        >>> pooled = F.avg_pool2d(F.conv2d(x, layer.weight, layer.bias, padding=1), 2)
        >>> torch.allclose(layer(x), pooled, atol=1e-5)
        True
    """

    _held: Tensor | None = None

    def hold(self, on: bool) -> None:
        """Keep the 4x4 kernel of today's weights for evaluation mode, or drop it again.

        Args:
            on: whether to keep it; see `core.constant_weights`.
        """
        with torch.no_grad():
            self._held = self._kernel() if on else None

    def _kernel(self) -> Tensor:
        # Padded apart: in channels_last, CUDA's gradient of a pooling that pads itself is wrong
        # in many versions of PyTorch (pytorch/pytorch#188344).
        return F.avg_pool2d(F.pad(self.weight, (1, 1, 1, 1)), 2, stride=1)

    def forward(self, input: Tensor) -> Tensor:
        """(n, in_channels, h, w) -> (n, out_channels, h // 2, w // 2)."""
        kernel = self._kernel() if self.training or self._held is None else self._held
        return F.conv2d(input, kernel, self.bias, stride=2, padding=1)


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut, both average-pooled by 2 if `pool` is set.

    Args:
        in_channels: input channels; where they differ from `channels`, the shortcut has a 1x1
            convolution.
        channels: output channels.
        pool: whether to halve height and width.
        first: whether to leave out the activation in front, which would clip an image.

    Example:
        >>> import torch
        >>> ResidualBlock(3, 8, pool=True)(torch.zeros(2, 3, 16, 16)).shape
        torch.Size([2, 8, 8, 8])
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
        """(n, in_channels, h, w) -> (n, channels, h, w), or half of h and w with `pool`."""
        residual = F.leaky_relu(self.conv1(self.activation_in(x)), SLOPE)
        return self.conv2(residual) + self.shortcut(self.pool(x))


class EnergyResNet8(nn.Module):
    """Table 4: four residual blocks, the first two pooled, then a global average.

    The paper's table shows a shortcut in the first block only and omits the last activation; the
    public code of its reference [7] has both, and the parameter counts agree (1.04 M at width 128,
    4.14 M at 256). No layer mixes the batch.

    Args:
        width: F, channels of every block and size of the features.
        in_channels: 3 for colour, 1 for grey images.

    Attributes:
        num_features: size of the features, as solo-learn expects of a backbone.
        min_size: smallest height and width the network takes.

    Example:
        >>> import torch
        >>> network = EnergyResNet8(width=128)
        >>> sum(p.numel() for p in network.parameters())
        1037184
        >>> network(torch.zeros(2, 3, 32, 32)).shape
        torch.Size([2, 128])
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
        """Images (n, in_channels, h, w), with h and w at least 4 -> features (n, width)."""
        return F.leaky_relu(self.blocks(x), SLOPE).mean((2, 3))
