"""GEDI as a solo-learn method."""

from collections.abc import Sequence
from typing import Any

import torch
from omegaconf import DictConfig
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm

from solo_gedi.core import (
    DTYPES,
    EnergyHead,
    GEDIObjective,
    ReplayBuffer,
    choose_precision,
    cluster_entropy,
    clusters_used,
    evaluation_mode,
    limit_spectral_norms,
    log_density,
    sample_sgld,
)
from solo_gedi.core.energy import LogDensity
from solo_gedi.core.processes import gather, rank, world_size
from solo_gedi.data import SampleSpace, spec_of
from solo_gedi.errors import ConfigError
from solo_gedi.hosts import BaseMethod, build_transform, normalization
from solo_gedi.methods.kwargs import MethodKwargs, with_defaults


class GEDI(BaseMethod):
    """GEnerative and DIscriminative training (Sansone, "The Triad of Failure Modes").

    Extra cfg settings: see `solo_gedi.methods.kwargs.MethodKwargs`.

    Args:
        cfg: solo-learn's config.

    Attributes:
        projector: the head f of Eq. 6, on top of the backbone.
        sample_space: the map between the chains' [-1, 1] and the network's input.
        replay_buffer: this process's chains; None before the first training step.
        sampler_precision: "fp32" or "bf16"; "auto" before the first training step.
        watched: what the last step says of divergence: loss terms, energies and the chains' range
            and gradient, as scalars.
    """

    def __init__(self, cfg: DictConfig) -> None:
        super().__init__(cfg)
        kwargs = self.cfg.method_kwargs
        self.sgld, self.input_noise_std = kwargs.sgld, kwargs.input_noise_std
        self.projector = EnergyHead(
            self.features_dim, kwargs.proj_hidden_dim, kwargs.num_clusters, kwargs.temperature
        )
        self.objective = GEDIObjective(
            **kwargs.weights, energy_l2=kwargs.energy_l2, grad_penalty=kwargs.grad_penalty
        )
        self.sample_space = sample_space(self.cfg)
        self.mixes_batch = any(isinstance(m, _BatchNorm) for m in self.backbone.modules())
        self.sampler_precision: str = self.sgld.precision
        self._density: LogDensity = self._density_of_inputs
        if self.sgld.compile:
            # CUDA graphs where there is CUDA: a step of SGLD is many small kernels.
            self._density = torch.compile(self._density_of_inputs, mode="reduce-overhead")
        self.replay_buffer: ReplayBuffer | None = None
        self._saved_buffers: list[dict[str, Any]] = []
        self.watched: dict[str, Tensor] = {}

        views = 2 if self.objective.needs_view else 1
        large, small = self.cfg.data.num_large_crops, self.cfg.data.num_small_crops
        if small or large < views:
            raise ConfigError(
                f"augmentations must give {views} view(s) of one crop_size to {cfg.method} with "
                f"weights.inv={kwargs.weights.inv}, not {large} large and {small} small ones"
            )
        # A view that no term needs is not looked at, not even by the online classifier. For
        # solo-learn the views are one batch, in one pass, unless a layer would mix them.
        self.num_views = views
        self.num_large_crops = self.num_crops = views if self.mixes_batch else 1

    @staticmethod
    def add_and_assert_specific_cfg(cfg: DictConfig) -> DictConfig:
        """Add the method's defaults to the config and check its values.

        Raises:
            ConfigError: for a `method_kwargs` key or value that cannot work.
        """
        cfg = super(GEDI, GEDI).add_and_assert_specific_cfg(cfg)
        return with_defaults(cfg, MethodKwargs())

    @property
    def learnable_params(self) -> list[dict[str, Any]]:
        """Add the head's parameters to those of the backbone and the online classifier."""
        extra = [{"name": "projector", "params": self.projector.parameters()}]
        return super().learnable_params + extra

    def forward(self, X: Tensor) -> dict[str, Any]:
        """Online classifier, features and cluster logits.

        Args:
            X: (n, ...) network inputs.

        Returns:
            `logits` (n, classes) of the online classifier, `feats` (n, h) and `z` (n, c), the
            cluster logits divided by the temperature.
        """
        out = super().forward(X)
        return {**out, "z": self.projector(out["feats"])}

    def log_density(self, samples: Tensor) -> Tensor:
        """Log p up to a constant (Eq. 6) of points in the sample space, (n, ...) -> (n,)."""
        return self._density_of_inputs(self.sample_space.to_input(samples))

    def _density_of_inputs(self, x: Tensor) -> Tensor:
        return log_density(self.projector(self.backbone(x)))

    def training_step(self, batch: Sequence[Any], batch_idx: int) -> Tensor:
        """One step of Algorithm 1, with solo-learn's online classifier.

        Args:
            batch: [indices, [views], targets]; targets of -1 are unlabelled.
            batch_idx: index of the batch.

        Returns:
            The objective plus the online classifier's loss, whose gradients do not meet.
        """
        indices, X, targets = batch
        X = [X] if isinstance(X, Tensor) else X[: self.num_views]
        X = [self.sample_space.add_noise(x, self.input_noise_std) for x in X]
        if self.objective.needs_score:
            data = self.sample_space.to_samples(X[0]).requires_grad_()
            X[0] = self.sample_space.to_input(data)
        if self.mixes_batch:
            out = super().training_step([indices, X, targets], batch_idx)
            logits = out["z"]
        else:
            everything = [indices, [torch.cat(X)], targets.repeat(self.num_views)]
            out = super().training_step(everything, batch_idx)
            logits = out["z"][0].chunk(self.num_views)
        densities = self._log_densities(X[0], logits[0]) if self.objective.needs_samples else {}

        if self.objective.needs_score:
            log_p = densities["data_log_density"].sum()
            (densities["data_score"],) = torch.autograd.grad(log_p, data, create_graph=True)

        terms = self.objective(*logits, **densities)
        loss = terms.pop("loss")
        metrics = {f"train_{name}_loss": term for name, term in {**terms, "gedi": loss}.items()}
        if densities:
            metrics["train_data_energy"] = -densities["data_log_density"].mean()
            metrics["train_sample_energy"] = -densities["sample_log_density"].mean()
        # Energies and scores are of a size that can be judged, their squares are not.
        squares = ("train_energy_l2_loss", "train_grad_penalty_loss")
        self.watched.update({n: v.detach() for n, v in metrics.items() if n not in squares})
        metrics["train_cluster_entropy"] = cluster_entropy(logits[0].detach())
        metrics["train_clusters_used"] = clusters_used(logits[0])
        self.log_dict(metrics, on_epoch=True, sync_dist=True)
        # The mean over no labelled point is NaN.
        labelled = (targets != -1).any()
        return loss + torch.where(labelled, out["loss"], torch.zeros_like(out["loss"]))

    def _log_densities(self, x: Tensor, logits: Tensor) -> dict[str, Tensor]:
        """Log-densities of the data and of samples, by one and the same density.

        With batch norm that density is the one of evaluation mode, which the chains follow:
        in training mode a point's logits depend on its batch.
        """
        samples = self.draw_samples(x)
        if not self.mixes_batch:
            return {
                "data_log_density": log_density(logits),
                "sample_log_density": self.log_density(samples),
            }
        with evaluation_mode(self.backbone):
            both = self.log_density(torch.cat([self.sample_space.to_samples(x), samples]))
        data, drawn = both.split([len(x), len(samples)])
        return {"data_log_density": data, "sample_log_density": drawn}

    def draw_samples(self, like: Tensor) -> Tensor:
        """Move as many chains of the buffer as there are inputs, and write them back.

        Args:
            like: (n, ...) network inputs, which give number, shape and device.

        Returns:
            (n, ...) samples in the sample space, without gradient.
        """
        if self.replay_buffer is None:
            self.replay_buffer = self._new_buffer(like)
        buffer, sgld = self.replay_buffer, self.sgld
        chains, slots = buffer.draw(len(like))
        grad_norms: list[Tensor] = []
        with evaluation_mode(self.backbone, self.projector):
            if self.sampler_precision == "auto":
                choice, why = choose_precision(self.log_density, chains)
                # All processes as one: bf16 where each of them has found it faster.
                self.sampler_precision = "bf16" if set(gather(choice)) == {"bf16"} else "fp32"
                if rank() == 0:
                    print(f"The sampler runs in {self.sampler_precision}: {why}.", flush=True)
            samples = sample_sgld(
                lambda x: self._density(self.sample_space.to_input(x)),
                chains,
                sgld.num_steps,
                sgld.step_size,
                sgld.noise_std,
                max_grad_norm=sgld.max_grad_norm,
                box=self.sample_space.box if sgld.clip_samples else None,
                dtype=DTYPES[self.sampler_precision],
                generator=buffer.generator,
                callback=lambda step: grad_norms.append(step["grad"].flatten(1).norm(dim=1)),
            )
        buffer.write(slots, samples)
        norm = torch.stack(grad_norms).mean()
        self.watched = {"chain_grad_norm": norm, "chain_range": samples.abs().amax()}
        self.log("train_chain_grad_norm", norm, on_epoch=True, sync_dist=True)
        return samples

    def _new_buffer(self, like: Tensor) -> ReplayBuffer:
        generator = torch.Generator(like.device)
        generator.manual_seed(torch.initial_seed() % 2**32 + rank())
        buffer = ReplayBuffer(
            self.sgld.buffer_size,
            like.shape[1:],
            self.sgld.reinit_prob,
            self.sample_space.uniform,
            device=like.device,
            generator=generator,
        )
        saved, self._saved_buffers = self._saved_buffers, []
        if len(saved) == world_size():
            buffer.load_state_dict(saved[rank()])
        elif saved:
            # Another number of processes: the chains are dealt out anew, as far as there is room.
            chains = torch.cat([state["chains"] for state in saved])[rank() :: world_size()]
            kept = chains[: len(buffer)].to(buffer.device)
            buffer.write(torch.arange(len(kept), device=buffer.device), kept)
        return buffer

    def on_train_batch_end(self, *_: Any) -> None:
        """Bound the weights' singular values, if that is asked for."""
        if (limit := self.cfg.method_kwargs.max_spectral_norm) is not None:
            limit_spectral_norms(self.backbone, limit)
            limit_spectral_norms(self.projector, limit)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Save every process's chains and their randomness."""
        states: list[Any] = self._saved_buffers
        if self.replay_buffer is not None:
            states = gather(self.replay_buffer.state_dict())
        checkpoint["replay_buffers"] = states
        checkpoint["sampler_precision"] = self.sampler_precision

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep the saved chains until the first step, when device and shape are known.

        Raises:
            ConfigError: if the buffer had another size.
        """
        if self.sampler_precision == "auto":  # what is resumed goes on as it was
            self.sampler_precision = checkpoint.get("sampler_precision", "auto")
        self._saved_buffers = checkpoint.get("replay_buffers", [])
        for saved in self._saved_buffers:
            if (size := len(saved["chains"])) != self.sgld.buffer_size:
                raise ConfigError(
                    f"method_kwargs.sgld.buffer_size={self.sgld.buffer_size}, but the checkpoint "
                    f"has {size} chains: set it to {size} to go on with them"
                )


def sample_space(cfg: DictConfig) -> SampleSpace:
    """The space of a config's samples: [-1, 1] for images, a box that covers the data for points.

    An image's map to network inputs is the normalisation at the end of solo-learn's pipeline.
    """
    spec = spec_of(cfg.data.dataset)
    if spec.points:
        return SampleSpace(low=-spec.box, high=spec.box)
    return SampleSpace.of_images(
        *normalization(build_transform(cfg.data.dataset, cfg.augmentations[0]))
    )
