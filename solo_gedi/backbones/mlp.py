"""The perceptron of the toy experiments (Appendix D)."""

from torch import Tensor, nn


class MLP(nn.Module):
    """Two hidden layers of 100 ReLU units, for points in the plane.

    Args:
        in_dim: size of a point.
        hidden_dim: units of each hidden layer.
        num_features: size of the features.

    Attributes:
        num_features: size of the features, as solo-learn expects of a backbone.

    Example:
        >>> import torch
        >>> MLP()(torch.zeros(400, 2)).shape
        torch.Size([400, 2])
    """

    def __init__(self, in_dim: int = 2, hidden_dim: int = 100, num_features: int = 2) -> None:
        super().__init__()
        self.num_features = num_features
        self.layers = nn.Sequential(
            nn.Linear(in_dim, hidden_dim),
            nn.ReLU(inplace=True),
            nn.Linear(hidden_dim, hidden_dim),
            nn.ReLU(inplace=True),
            nn.Linear(hidden_dim, num_features),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Points (n, in_dim) -> features (n, num_features)."""
        return self.layers(x)
