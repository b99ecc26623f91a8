import gc
import hashlib
import logging
import os
import shutil
import sys
from pathlib import Path

# One thread a process: pytest-xdist runs as many processes as there are cores.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# On the CPU, whose numbers can be had again; CUDA_VISIBLE_DEVICES=0 for those that need a GPU.
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")

import pytest
import torch
from omegaconf import OmegaConf

ROOT = Path(__file__).parents[1]
SCRIPTS = ROOT / "scripts"


def pytest_xdist_auto_num_workers():
    """One more than there are cores: a quarter of the time goes by waiting for other programs."""
    return (os.cpu_count() or 1) + 1


def pytest_collection_finish():
    """Spare every garbage collection the million objects of what has been imported by now."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path, monkeypatch):
    """A user stands somewhere; nothing may be written elsewhere."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture(autouse=True)
def logs_as_before():
    """The command line, where a test runs it in this process, takes over the package's logger."""
    logger = logging.getLogger("solo_gedi")
    before = logger.level, logger.propagate, list(logger.handlers)
    yield
    logger.level, logger.propagate, logger.handlers = before


@pytest.fixture
def scripts():
    """The folder of the shipped configs."""
    return SCRIPTS


# What keeps a training on digits to a second.
SMALL = {
    "checkpoint.frequency": 1,
    "enable_progress_bar": False,
    "enable_model_summary": False,
    "log_every_n_steps": 1,
    "max_epochs": 1,
}
SMALL_DIGITS = {
    "limit_train_batches": 3,
    "limit_val_batches": 2,
    "backbone.kwargs.width": 8,
    "optimizer.batch_size": 16,  # to augment images takes the longest
}
SMALL_SAMPLER = {"method_kwargs.sgld.num_steps": 2, "method_kwargs.sgld.buffer_size": 200}


def small_config(folder, method, *overrides, suite="digits", kind="pretrain"):
    """A shipped config, cut down to a second where the overrides do not say otherwise."""
    from solo_gedi.config import load_config

    cfg = load_config(f"{suite}/{method}", overrides, kind=kind)
    OmegaConf.set_struct(cfg, False)
    small = {**SMALL, "checkpoint.dir": str(folder / "trained_models")}
    if suite == "digits":
        small |= SMALL_DIGITS
    if suite == "digits" and (cfg.get("method_kwargs") or {}).get("sgld"):
        small |= SMALL_SAMPLER
    if "num_workers" in (cfg.get("data") or {}):
        small |= {"data.num_workers": 0}  # to fork some takes as long as the training
    given = {override.lstrip("+~").partition("=")[0] for override in overrides}
    for key, value in small.items():
        if key not in given:
            OmegaConf.update(cfg, key, value)
    return cfg


@pytest.fixture
def load_config(tmp_path):
    """Composes a shipped config, cut down to a second; see `small_config`."""
    return lambda method, *overrides, **names: small_config(tmp_path, method, *overrides, **names)


@pytest.fixture(scope="session")
def trained(tmp_path_factory, worker_id):
    """The folder of a short run, trained once for all tests that only read it."""
    from filelock import FileLock

    from solo_gedi.training import pretrain

    base = tmp_path_factory.getbasetemp()
    shared = base if worker_id == "master" else base.parent

    def run(method="gedi", *overrides, suite="digits"):
        key = hashlib.sha256(repr((method, overrides, suite)).encode()).hexdigest()[:12]
        place = shared / f"trained-{method}-{key}"
        with FileLock(f"{place}.lock"):
            if not place.exists():
                partial = place.with_suffix(".partial")
                shutil.rmtree(partial, ignore_errors=True)
                cfg = small_config(partial, method, *overrides, suite=suite)
                pretrain(cfg).folder.rename(place)
        return place

    return run


@pytest.fixture
def trained_copy(trained, tmp_path):
    """A copy of such a run, which a test may change."""

    def copy(method="gedi", *overrides, suite="digits", name="run"):
        return Path(shutil.copytree(trained(method, *overrides, suite=suite), tmp_path / name))

    return copy


@pytest.fixture
def untrained():
    """Builds a model that has learned nothing, around one of the backbones."""
    from solo_gedi.backbones import build_backbone, features_dim
    from solo_gedi.core import EnergyHead, SGLDSettings
    from solo_gedi.data import SampleSpace
    from solo_gedi.inference import Model

    def build(name, dataset="custom", size=64, **kwargs):
        torch.manual_seed(0)
        backbone = build_backbone(name, kwargs, dataset=dataset)
        mean_std = ((0.4,) * 3, (0.2,) * 3)
        dim = features_dim(backbone)
        return Model(
            backbone,
            EnergyHead(dim, 16, 5),
            output="cluster head",
            num_clusters=5,
            space=SampleSpace.of_images(*mean_std),
            normalization=mean_std,
            input_shape=(3, size, size),
            config={
                "method": "gedi",
                "backbone": {"name": name, "kwargs": kwargs},
                "data": {"dataset": dataset},
                "augmentations": [
                    {"crop_size": size, "mean": mean_std[0], "std": mean_std[1]},
                ],
            },
            sgld=SGLDSettings(),
        )

    return build


@pytest.fixture
def image_folder(tmp_path):
    """Builds `<tmp>/<name>/<class>/<i>.png` with random colour images."""
    from PIL import Image

    def build(name="images", classes=("a", "b", "c"), per_class=8, size=32):
        generator = torch.Generator().manual_seed(0)
        for label in classes:
            folder = tmp_path / name / label
            folder.mkdir(parents=True)
            for i in range(per_class):
                pixels = torch.randint(0, 256, (size, size, 3), generator=generator)
                Image.fromarray(pixels.to(torch.uint8).numpy()).save(folder / f"{i}.png")
        return tmp_path / name

    return build


@pytest.fixture
def mnist_files():
    """Writes a few random images as MNIST, or another set of torchvision's, has its files."""
    import numpy as np

    def write(root, kind="FashionMNIST", train=40, test=20):
        generator, written = np.random.default_rng(0), {}
        folder = root / kind / "raw"
        folder.mkdir(parents=True)
        for split, size in (("train", train), ("t10k", test)):
            images = generator.integers(0, 256, (size, 28, 28), dtype=np.uint8)
            labels = (np.arange(size) % 10).astype(np.uint8)
            for name, array in (("images-idx3", images), ("labels-idx1", labels)):
                # A magic number (unsigned bytes, number of dimensions) and the dimensions.
                header = np.array([0x800 + array.ndim, *array.shape], dtype=">i4")
                path = folder / f"{split}-{name}-ubyte"
                path.write_bytes(header.tobytes() + array.tobytes())
            written[split] = images, labels
        return written

    return write


@pytest.fixture
def console():
    """Runs a command with the environment's Python in front, as a user's shell does."""
    import subprocess

    def run(*command, timeout=300, **kwargs):
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        env = {**os.environ, "PATH": path, **kwargs.pop("env", {})}
        return subprocess.run(
            [str(part) for part in command],
            capture_output=True,
            text=True,
            timeout=timeout,
            env=env,
            **kwargs,
        )

    return run
