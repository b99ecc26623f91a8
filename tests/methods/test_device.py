"""Training steps on a device that is not there: what mixes devices, or waits for one, fails.

Tensors of `FakeTensorMode` know their device and shape and hold no data. An operation on two
devices raises, and so does whatever needs a value on the host: `.item()`, `bool()`, `float()`,
`nonzero()`. Not seen: what waits inside itself, as CUDA's eigenvalue solvers; and the sampler's
choice of a precision, which has to wait once. For augmentations see `test_batched.py`.
"""

import contextlib

import pytest
import torch
from omegaconf import OmegaConf
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves

from solo_gedi import hosts
from solo_gedi.backbones import EnergyResNet8
from solo_gedi.core import EnergyHead, SGLDSettings, objective, sgld
from solo_gedi.data import SampleSpace, sample_space
from solo_gedi.inference import Model
from solo_gedi.methods import register
from solo_gedi.training.callbacks import divergence_guard

# One of the devices for which autograd needs no driver.
DEVICE = torch.device("lazy", 0)


class DeviceOfGenerators(TorchFunctionMode):
    """Random numbers of a device have to come from a generator of this device.

    Generators of the device cannot be made, so that those of the CPU stand for them.
    """

    def __init__(self):
        super().__init__()
        self.real, self.made = torch.Generator, []

    def make(self, device="cpu"):
        self.made.append((self.real(), torch.device(device)))
        return self.made[-1][0]

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if (generator := kwargs.get("generator")) is not None:
            (home,) = [device for made, device in self.made if made is generator]
            wanted = torch.device(kwargs.get("device") or "cpu")
            assert home == wanted, f"{func.__name__} on {wanted} by a generator of {home}"
        return func(*args, **kwargs)


@pytest.fixture
def pretended(monkeypatch):
    """Inside this context `DEVICE` is a device like any other."""
    generators = DeviceOfGenerators()
    monkeypatch.setattr(torch, "Generator", generators.make)
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: contextlib.nullcontext())
    # Constants are kept as long as a process lives, and fake ones belong to one mode.
    monkeypatch.setattr(sample_space, "_constants", {})

    @contextlib.contextmanager
    def mode():
        with FakeTensorMode() as fake, generators:
            yield fake

    return mode


@pytest.fixture
def train(load_config, pretended):
    """Two training steps with their gradients and the optimizer's, on the pretended device."""
    register()

    def steps(method, *overrides, suite="digits", shape=(1, 8, 8)):
        cfg = load_config(method, *overrides, suite=suite)
        OmegaConf.update(cfg, "devices", [0])
        if "sgld" in cfg.method_kwargs:
            cfg.method_kwargs.sgld.update(precision="fp32", buffer_size=200, num_steps=2)
        cfg = hosts.parse_pretrain(cfg)
        cfg.optimizer.batch_size = 8
        with pretended() as inside:
            with DEVICE:
                model = hosts.METHODS[cfg.method](cfg)
                batch = [torch.arange(8), [torch.randn(8, *shape) for _ in range(2)]]
                batch.append(torch.zeros(8, dtype=torch.long))
            model.log = model.log_dict = lambda *_, **__: None
            optimizer = torch.optim.Adam(model.parameters(), 1e-3)
            for i in range(2):
                optimizer.zero_grad()
                model.training_step(batch, i).backward()
                optimizer.step()
                if getattr(model, "spectral_bound", None) is not None:
                    model.spectral_bound.apply()
            assert all(p.grad.device == DEVICE for p in model.parameters())
            if model.sampler is not None:
                assert model.replay_buffer.chains.device == DEVICE
        model.inside_of = inside
        return model

    return steps


RESNET18 = ("backbone.name=resnet18", "~backbone.kwargs.width")
TOY = {"suite": "toy", "shape": (2,)}
COLOUR = {"suite": "cifar", "shape": (3, 32, 32)}
STEADY = (
    "method_kwargs.energy_l2=0.1",
    *("+method_kwargs.grad_penalty=0.1", "+method_kwargs.max_spectral_norm=2"),
    *("+method_kwargs.sgld.max_grad_norm=0.1", "+method_kwargs.sgld.clip_samples=true"),
)
PRIOR = "+method_kwargs.cluster_prior=[0.55,0.05,0.05,0.05,0.05,0.05,0.05,0.05,0.05,0.05]"
VARIANTS = {
    **{name: ((name,), {}) for name in ("gedi", "gedi_nogen", "gedi_noinv", "gedi_nounif", "jem")},
    "gedi_fast": (("gedi_fast",), {}),
    "a prior": (("gedi", PRIOR), {}),
    "steady": (("gedi", *STEADY), {}),
    "steady jem": (("jem", *STEADY), {}),
    "colour": (("gedi",), COLOUR),
    "batch norm": (("gedi", *RESNET18), COLOUR),
    "batch norm, steady": (("gedi", *RESNET18, *STEADY), COLOUR),
    "toy": (("gedi",), TOY),
    "toy jem, steady": (("jem", *STEADY), TOY),
}


@pytest.mark.parametrize("name", VARIANTS)
def test_a_step_neither_leaves_its_device_nor_waits_for_it(train, name):
    arguments, where = VARIANTS[name]
    train(*arguments, **where)


def on_the_cpu(monkeypatch):
    constant = sample_space._constant

    def made_there(values, dims, dtype, device):
        return constant(values, dims, dtype, torch.device("cpu"))

    monkeypatch.setattr(sample_space, "_constant", made_there)


def another_generator(monkeypatch):
    move = sgld.langevin_step
    wrong = torch.Generator()
    monkeypatch.setattr(sgld, "langevin_step", lambda *args: move(*args[:-1], wrong))


def host_reads(read):
    """A loss term that looks at its value."""

    def plant(monkeypatch):
        loss = objective.generative_loss

        def looking(data, samples):
            read(data)
            return loss(data, samples)

        monkeypatch.setattr(objective, "generative_loss", looking)

    return plant


FAULTS = {
    "a constant on the CPU": (on_the_cpu, "device"),
    "the CPU's generator": (another_generator, "by a generator of cpu"),
    "item": (host_reads(lambda x: x.detach().mean().item()), "local_scalar"),
    "float": (host_reads(lambda x: float(x.detach().mean())), "local_scalar"),
    "bool": (host_reads(lambda x: bool(x.isfinite().all())), "local_scalar"),
    "nonzero": (host_reads(lambda x: x.isfinite().nonzero()), "nonzero"),
    "a mask as an index": (host_reads(lambda x: x[x > 0]), "nonzero"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_faults_are_caught(train, monkeypatch, name):
    plant, says = FAULTS[name]
    plant(monkeypatch)
    with pytest.raises((RuntimeError, AssertionError), match=says):
        train("gedi")


def test_the_guard_looks_once_and_keeps_its_states_on_the_cpu(train, monkeypatch):
    model, looks = train("gedi"), []
    monkeypatch.setattr(FakeTensor, "tolist", lambda x: looks.append(x.device) or [0.0] * len(x))
    with model.inside_of:
        _, sizes = divergence_guard._look(model)
        assert looks == [DEVICE]
        assert sizes.keys() == model.watched.keys() >= {"chain_range", "train_sample_energy"}
        states = {"model": dict(model.state_dict()), "chains": model.replay_buffer.chains}
        kept = tree_leaves(divergence_guard._on_cpu(states))
        assert {tensor.device.type for tensor in kept} == {"cpu"}


def test_measures_and_scores_do_not_wait(pretended):
    """What evaluation computes of a batch, up to handing it to the CPU."""
    with pretended(), DEVICE:
        model = Model(
            EnergyResNet8(width=8, in_channels=3),
            EnergyHead(8, 16, 5),
            output="cluster head",
            num_clusters=5,
            space=SampleSpace.of_images((0.4,) * 3, (0.2,) * 3),
            normalization=((0.4,) * 3, (0.2,) * 3),
            input_shape=(3, 32, 32),
            config={},
            sgld=SGLDSettings(),
        )
        x = torch.randn(8, 3, 32, 32)
        scores = model.cluster_probs(x), model.log_density(x), model.ood_score(x)
        assert [score.device for score in scores] == [DEVICE] * 3
        generator = torch.Generator(DEVICE)
        samples = model.sample(4, steps=2, generator=generator)
        assert samples.device == torch.device("cpu")
