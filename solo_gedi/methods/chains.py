"""A method's chains: how they are made, moved, saved and brought back."""

from typing import Any

import torch
from omegaconf import DictConfig
from torch import Tensor, nn

from solo_gedi.core import (
    ReplayBuffer,
    Sampler,
    SGLDSettings,
    evaluation_mode,
    log_density,
    saved_sampler,
)
from solo_gedi.core.devices import in_words, room
from solo_gedi.core.processes import gather, gather_to_first, get_logger, rank, world_size
from solo_gedi.data import SampleSpace, spec_of
from solo_gedi.errors import ConfigError
from solo_gedi.hosts import BaseMethod, normalization, pipelines

logger = get_logger(__name__)


class MethodWithChains(BaseMethod):
    """A solo-learn method that models log p(x), and draws from it by SGLD with a replay buffer.

    Args:
        cfg: solo-learn's config.

    Attributes:
        projector: the head f of Eq. 6, on top of the backbone; set by the method itself.
        sample_space: the map between the chains' [-1, 1] and the network's input.
        sgld: settings of the sampler.
        sampler: this process's chains; None before the first training step.
    """

    projector: nn.Module

    def __init__(self, cfg: DictConfig) -> None:
        super().__init__(cfg)
        self.sgld = SGLDSettings(**self.cfg.method_kwargs.sgld)
        self.sample_space = sample_space(self.cfg)
        self.sampler: Sampler | None = None
        # Of a checkpoint, until the first step.
        self._saved_sampler: dict[str, Any] = saved_sampler({})
        self._saved_buffers: list[dict[str, Any]] = []

    def on_train_start(self) -> None:
        """Check that the views are of the normalisation that the sample space undoes.

        Raises:
            ConfigError: under solo-learn's own programs, which take their own for some data sets.
        """
        super().on_train_start()
        for pipeline in pipelines(self.trainer.train_dataloader):
            own, used = normalization_of(self.cfg), normalization(pipeline)
            if used != own:
                raise ConfigError(
                    f"augmentations.0 has mean={own[0]}, std={own[1]}, but solo-learn's own "
                    f"main_pretrain.py normalises {self.cfg.data.dataset} by mean={used[0]}, "
                    f"std={used[1]}: set these, or take `solo-gedi pretrain`"
                )

    def log_density(self, samples: Tensor) -> Tensor:
        """Log p up to a constant (Eq. 6) of points in the sample space, (n, ...) -> (n,)."""
        return log_density(self.projector(self.backbone(self.sample_space.to_input(samples))))

    @property
    def replay_buffer(self) -> ReplayBuffer | None:
        """This process's chains; None before the first training step."""
        return self.sampler.buffer if self.sampler is not None else None

    def draw_samples(self, like: Tensor) -> Tensor:
        """Draw samples from the model with the networks in evaluation mode.

        Args:
            like: (n, ...) points, which give number, shape and device.

        Returns:
            (n, ...) samples in the sample space, without gradient.
        """
        if self.sampler is None:
            self.sampler = self._new_sampler(like)
        with evaluation_mode(self.backbone, self.projector):
            return self.sampler.draw(self.log_density, len(like))

    def _new_sampler(self, like: Tensor) -> Sampler:
        """The sampler on the device of points (n, ...), with what a checkpoint has brought back.

        Raises:
            ConfigError: if there is not enough memory for the chains.
        """
        settings, space = self.sgld, self.sample_space
        home = torch.device(settings.buffer_device or like.device)
        self._check_memory(like[0].nbytes * settings.buffer_size, home)
        generator = torch.Generator(home)
        # Far from the seeds of all processes' global streams, which are next to each other.
        generator.manual_seed(torch.initial_seed() % 2**32 + rank() + 2**40)
        buffer = ReplayBuffer(
            settings.buffer_size,
            like.shape[1:],
            settings.reinit_prob,
            space.uniform,
            device=home,
            generator=generator,
        )
        networks = self.backbone, self.projector
        sampler = Sampler(
            *(settings, buffer, space.box),
            networks=networks,
            device=like.device,
            gather_distributed=True,
        )
        sampler.load_state_dict(self._saved_sampler)
        buffer.load_state_dicts(self._saved_buffers, rank(), world_size())
        self._saved_buffers = []
        return sampler

    def _check_memory(self, needed: int, device: torch.device) -> None:
        size, free = self.sgld.buffer_size, room(device)
        taken = f"{in_words(needed)} on {device}"
        problem = None
        if free is not None and needed > free:
            elsewhere = "" if device.type == "cpu" else ", or +method_kwargs.sgld.buffer_device=cpu"
            problem = (
                f"method_kwargs.sgld.buffer_size={size}: its chains take {taken}, where there is "
                f"room for {in_words(free)}; set a smaller one{elsewhere}"
            )
        # Together, or the others would wait for the one that has no room.
        if found := next(filter(None, gather(problem)), None):
            raise ConfigError(found)
        logger.info("The replay buffer's %s chains take %s.", f"{size:,}", taken)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Save every process's chains with their randomness, and the sampler's step and precision.

        As `replay_buffers`, one a process, and `sampler`.
        """
        checkpoint["replay_buffers"] = self._saved_buffers
        checkpoint["sampler"] = self._saved_sampler
        if self.sampler is not None:
            state = self.sampler.state_dict()
            buffer = state.pop("buffer")
            # Only the first process writes the file, and chains may be large.
            chains, rest = gather_to_first(buffer.pop("chains")), gather(buffer)
            checkpoint["replay_buffers"] = [
                {"chains": own, **other} for own, other in zip(chains, rest, strict=False)
            ]
            checkpoint["sampler"] = state

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep the sampler's state until the first step, when device and shape are known.

        Raises:
            ConfigError: if the buffer had another size.
        """
        self.sampler = None
        self._saved_sampler = saved_sampler(checkpoint)
        self._saved_buffers = checkpoint.get("replay_buffers", [])
        for saved in self._saved_buffers:
            if (size := len(saved["chains"])) != self.sgld.buffer_size:
                raise ConfigError(
                    f"method_kwargs.sgld.buffer_size={self.sgld.buffer_size}, but the checkpoint "
                    f"has {size} chains: set it to {size} to go on with them"
                )


def sample_space(cfg: DictConfig) -> SampleSpace:
    """The space of a config's samples, [-1, 1].

    An image's map to network inputs is the normalisation at the end of solo-learn's pipeline.
    """
    if spec_of(cfg.data.dataset).points:
        return SampleSpace()
    return SampleSpace.of_images(*normalization_of(cfg))


def normalization_of(cfg: DictConfig) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of the pixels that a pretraining config trains with."""
    return spec_of(cfg.data.dataset).normalization(cfg.augmentations[0])
