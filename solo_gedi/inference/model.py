"""A trained method, to be used: features, clusters, densities and samples."""

from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import torch
from PIL import Image
from torch import Generator, Tensor, nn

from solo_gedi.core import (
    constant_weights,
    evaluation_mode,
    input_gradient,
    log_density,
    sample_sgld,
)
from solo_gedi.core.reference import Reference
from solo_gedi.core.sampler import SGLDSettings
from solo_gedi.data import SampleSpace
from solo_gedi.data.transforms import plain
from solo_gedi.errors import ConfigError

NO_REFERENCE = (
    "typicality needs to know how likely the model finds its training images, which is kept in "
    "reference.json beside the checkpoint: `solo-gedi evaluate RUN` writes it"
)


class Outputs(NamedTuple):
    """What the network says of n inputs.

    Attributes:
        features: (n, h) of the backbone.
        scores: (n, c), over the temperature where the method has one; their argmax is the cluster,
            their softmax p(y|x), and their logsumexp log p up to a constant.
    """

    features: Tensor
    scores: Tensor


class Model(nn.Module):
    """A pretrained network without solo-learn or Lightning, in evaluation mode.

    Inputs x are what `transform` makes of images, (n, channels, size, size), or points (n, 2).
    Samples live in `space`, [-1, 1] for images.

    Attributes:
        backbone: inputs -> features (n, h).
        head: features -> scores (n, c).
        output: what the scores are: "cluster head", "prototypes" or "projector".
        space: the map between samples and inputs.
        normalization: mean and std per channel of pixels in [0, 1]; None for points.
        input_shape: of one input.
        config: the run's, as its `args.json` has it.
        checkpoint: the file; None for a model that was not read from one.
        epochs: how many it was trained for; a fraction where training stopped within one.
        events: what the divergence guard had to undo, and when.
        has_energy: whether it was trained as an energy-based model, as GEDI and JEM are.
        sgld: the sampler's settings, with the step size that the run ended with.
        chains: (n, ...) of the replay buffers of all processes, on the CPU; None without any.
        reference: how likely it finds its training images; None where that was not measured.
    """

    def __init__(
        self,
        backbone: nn.Module,
        head: nn.Module,
        *,
        output: str,
        num_clusters: int,
        space: SampleSpace,
        normalization: tuple[tuple[float, ...], tuple[float, ...]] | None,
        input_shape: tuple[int, ...],
        config: dict[str, Any],
        sgld: SGLDSettings,
        checkpoint: Path | None = None,
        epochs: float = 0,
        events: list[str] | None = None,
        chains: Tensor | None = None,
        has_energy: bool = True,
        reference: Reference | None = None,
    ) -> None:
        super().__init__()
        self.backbone, self.head = backbone, head
        self.output, self.num_clusters = output, num_clusters
        self.space, self.normalization, self.input_shape = space, normalization, input_shape
        self.config, self.sgld = config, sgld
        self.checkpoint, self.epochs, self.events = checkpoint, epochs, events or []
        self.chains, self.has_energy, self.reference = chains, has_energy, reference
        self.eval().requires_grad_(False)

    def __repr__(self) -> str:
        """One line: what it is and where from."""
        shape = "x".join(map(str, self.input_shape))
        return (
            f"Model({self.config.get('method')} on {self.config['data']['dataset']}, "
            f"{self.num_clusters} clusters by the {self.output}, inputs {shape}, "
            f"{self.epochs} epochs{f', from {self.checkpoint}' if self.checkpoint else ''})"
        )

    @property
    def folder(self) -> Path | None:
        """The run's folder."""
        return None if self.checkpoint is None else self.checkpoint.parent

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.parameters()).device

    @cached_property
    def transform(self) -> Callable[[Image.Image], Tensor]:
        """PIL image, of any size and mode -> what the network takes.

        Raises:
            ConfigError: for a model of points.
        """
        if self.normalization is None:
            raise ConfigError("this model takes points in the plane, not images")
        return plain(self.input_shape[-1], *self.normalization)

    def forward(self, x: Tensor) -> Outputs:
        """Inputs (n, ...) -> features and scores."""
        features = self.backbone(x)
        return Outputs(features, self.head(features))

    @torch.inference_mode()
    def features(self, x: Tensor) -> Tensor:
        """Inputs (n, ...) -> features (n, h)."""
        features: Tensor = self.backbone(x.to(self.device))
        return features

    @torch.inference_mode()
    def cluster_logits(self, x: Tensor) -> Tensor:
        """Inputs (n, ...) -> logits of the clusters (n, c), divided by the temperature."""
        outputs: Outputs = self(x.to(self.device))
        return outputs.scores

    def cluster_probs(self, x: Tensor) -> Tensor:
        """Inputs (n, ...) -> p(y|x), (n, c), rows that sum to 1."""
        return self.cluster_logits(x).softmax(-1)

    def log_density(self, x: Tensor) -> Tensor:
        """Inputs (n, ...) -> log p(x) up to a constant (Eq. 6), (n,).

        Differentiable. For a method without an energy it is the logsumexp of the scores: of SwAV's
        U^T g(x) / tau, by which its p(y|x) is defined, and of Barlow Twins' projector.
        """
        return log_density(self(x.to(self.device)).scores)

    def log_density_of_samples(self, samples: Tensor) -> Tensor:
        """Points of the sample space (n, ...) -> log p up to a constant, (n,). Differentiable."""
        return self.log_density(self.space.to_input(samples.to(self.device)))

    def ood_score(self, x: Tensor) -> Tensor:
        """Inputs (n, ...) -> -||grad log p|| in the sample space (Appendix G), (n,).

        Higher means in-distribution.
        """
        samples = self.space.to_samples(x.to(self.device))
        _, grad = input_gradient(self.log_density_of_samples, samples)
        norms: Tensor = grad.flatten(1).norm(dim=1)
        return -norms

    def typicality(self, x: Tensor) -> Tensor:
        """Inputs (n, ...) -> the share of training images that are less likely, (n,) in [0, 1].

        0.001 is stranger than 99.9 % of what the model was trained on.

        Raises:
            ConfigError: if that was not measured, see `NO_REFERENCE`.
        """
        if self.reference is None:
            raise ConfigError(NO_REFERENCE)
        with torch.no_grad():
            return self.reference.share_below(self.log_density(x))

    def sample(
        self,
        num: int = 64,
        *,
        steps: int = 500,
        start: str | Tensor = "fresh",
        generator: Generator | None = None,
        batch_size: int = 400,
    ) -> Tensor:
        """Samples of the model by SGLD, with the settings it was trained with.

        Args:
            num: how many; where `start` is a tensor, as many as it holds.
            steps: Langevin steps.
            start: "fresh" chains, uniform over the box; "buffer", the chains of the training; or
                samples (num, ...) to move.
            generator: source of the chains and the noise, on the model's device.
            batch_size: chains moved at once.

        Returns:
            (num, ...) on the CPU, in [-1, 1] for images, up to the noise.

        Raises:
            ConfigError: for a start that is neither, or a buffer that the model does not have.
        """
        chains = self._start(num, start, generator)
        box = self.space.box if self.sgld.clip_samples else None
        with evaluation_mode(self), constant_weights(self):
            moved = [
                sample_sgld(
                    self.log_density_of_samples,
                    part.to(self.device),
                    steps,
                    self.sgld.step_size,
                    self.sgld.noise_std,
                    max_grad_norm=self.sgld.max_grad_norm,
                    box=box,
                    generator=generator,
                ).cpu()
                for part in chains.split(batch_size)
            ]
        return torch.cat(moved)

    def save_pretrained(
        self, folder: str | Path, *, precision: str = "fp32", overwrite: bool = False
    ) -> Path:
        """Write the model as safetensors, JSON and a model card, see `export`.

        Args:
            folder: where.
            precision: of the weights, "fp32" or "fp16".
            overwrite: whether it may have files already, which are replaced.

        Returns:
            The folder.
        """
        from solo_gedi.inference.export import export

        return export(self, folder, precision=precision, overwrite=overwrite)

    @classmethod
    def from_pretrained(
        cls,
        name: str | Path,
        *,
        revision: str | None = None,
        token: str | None = None,
        cache_dir: str | Path | None = None,
        device: str | torch.device | None = None,
    ) -> "Model":
        """A model from a folder, the shipped models or the Hugging Face Hub.

        Args:
            name: what `load` takes, or the Hub's "user/model".
            revision: branch, tag or commit on the Hub.
            token: of a private model; that of `hf auth login` when None.
            cache_dir: where downloads are kept; huggingface_hub's place when None.
            device: where to put it; a GPU if there is one when None.

        Raises:
            CheckpointError: if there is none, or it cannot be read.
        """
        from solo_gedi.inference.hub import download
        from solo_gedi.inference.load import load

        place = download(name, revision, token, cache_dir)
        model = load(place, device=device)
        if place != name:
            model.checkpoint = None  # results do not belong into the Hub's cache
        return model

    def push_to_hub(
        self,
        repo_id: str,
        *,
        private: bool | None = None,
        token: str | None = None,
        commit_message: str = "Upload a solo-gedi model",
        precision: str = "fp32",
    ) -> str:
        """Upload the model, its config and its card to the Hugging Face Hub.

        Args:
            repo_id: "user/model"; made if it is not there.
            private: whether a new one is private.
            token: of the user; that of `hf auth login` when None.
            commit_message: of the upload.
            precision: of the weights, "fp32" or "fp16".

        Returns:
            The address of the commit.
        """
        from solo_gedi.inference.hub import upload

        return upload(self, repo_id, private, token, commit_message, precision)

    def _start(self, num: int, start: str | Tensor, generator: Generator | None) -> Tensor:
        if isinstance(start, Tensor):
            return start
        if start == "fresh":
            shape = (num, *self.input_shape)
            return self.space.uniform(shape, generator=generator, device=self.device)
        if start != "buffer":
            raise ConfigError(f'start must be "fresh", "buffer" or a tensor, got {start!r}')
        if self.chains is None:
            raise ConfigError(
                f"{self.config.get('method')} has no replay buffer to start from here: the runs of "
                "methods with an energy have one, what is exported of them has none"
            )
        if num > len(self.chains):
            raise ConfigError(f"the replay buffer has {len(self.chains)} chains, not {num}")
        device = generator.device if generator is not None else "cpu"
        order = torch.randperm(len(self.chains), generator=generator, device=device).cpu()
        return self.chains[order[:num]]
