import os
import sys
from pathlib import Path

# One thread a process: pytest-xdist runs as many processes as there are cores.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
import torch
from omegaconf import OmegaConf

ROOT = Path(__file__).parents[1]
SCRIPTS = ROOT / "scripts"


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path, monkeypatch):
    """A user stands somewhere; nothing may be written elsewhere."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def scripts():
    """The folder of the shipped configs."""
    return SCRIPTS


@pytest.fixture
def load_config(tmp_path):
    """Compose one of the shipped configs, cut down to seconds, as the command line does."""
    from solo_gedi.config import compose as config

    def load(method, *overrides, suite="digits", kind="pretrain"):
        cfg = config.load(SCRIPTS / kind / suite, method, list(overrides))
        small = {
            "checkpoint": {"dir": str(tmp_path / "trained_models"), "frequency": 1},
            "enable_progress_bar": False,
            "enable_model_summary": False,
            "log_every_n_steps": 1,
        }
        if "max_epochs" not in str(overrides):
            small["max_epochs"] = 1
        if suite == "digits":
            small["limit_train_batches"] = 3
            small["limit_val_batches"] = 2
            small["backbone"] = {"kwargs": {"width": 8}}
        cfg = OmegaConf.merge(cfg, small)
        if suite == "digits" and kind == "pretrain" and method in ("gedi", "jem", "gedi_noinv"):
            if "num_steps" not in str(overrides):
                cfg.method_kwargs.sgld.num_steps = 2
            if "buffer_size" not in str(overrides):
                cfg.method_kwargs.sgld.buffer_size = 200
        OmegaConf.set_struct(cfg, False)
        return cfg

    return load


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
