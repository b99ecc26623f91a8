"""Every shipped config composes, parses and builds its method."""

from pathlib import Path

import pytest
from omegaconf import OmegaConf

from solo_gedi import hosts
from solo_gedi.config import compose as config
from solo_gedi.training import loaders
from solo_gedi.training import run as runs

SCRIPTS = Path(__file__).parents[2] / "scripts"
VARIANTS = ["gedi", "gedi_nogen", "gedi_noinv", "gedi_nounif", "jem", "swav", "barlow"]
IMAGES = ["digits", "svhn", "cifar", "custom"]


def configs(kind):
    found = (path for path in (SCRIPTS / kind).glob("*/*.yaml") if path.stem != "base")
    return sorted(str(path.relative_to(SCRIPTS / kind)) for path in found)


def load(kind, path, *overrides):
    folder, name = Path(path).parent, Path(path).stem
    paths = ["data.train_path=.", "data.val_path=."] if str(folder) == "custom" else []
    return config.load(SCRIPTS / kind / folder, name, [*paths, *overrides])


def test_every_suite_has_every_method():
    expected = [f"{s}/{m}.yaml" for s in ("toy", *IMAGES) for m in VARIANTS]
    fast = [f"{s}/gedi_fast.yaml" for s in IMAGES]
    assert configs("pretrain") == sorted([*expected, *fast, "toy/gedi_paper.yaml"])


@pytest.mark.parametrize("path", configs("pretrain"))
def test_pretraining_config_builds_its_method(path, tmp_path):
    (tmp_path / "class").mkdir()
    cfg = load("pretrain", path)
    config.prepare(cfg, required=("method", "augmentations"))
    cfg = runs.parse(cfg, hosts.parse_pretrain)
    model = hosts.METHODS[cfg.method](cfg)
    assert model.cfg.wandb.entity is None
    if cfg.data.dataset not in ("moons", "circles"):
        for entry in cfg.augmentations:
            assert hosts.build_transform(cfg.data.dataset, entry)


@pytest.mark.parametrize("path", configs("linear"))
def test_linear_config_builds_its_backbone(path, tmp_path):
    (tmp_path / "class").mkdir()
    cfg = load("linear", path, "pretrained_feature_extractor=x.ckpt")
    config.prepare(cfg, required=())
    config.check_method(cfg, "pretrain_method")
    cfg = runs.parse(cfg, hosts.parse_linear)
    backbone = hosts.build_backbone(hosts.BACKBONES, cfg)
    pretrained = load("pretrain", path)
    same = OmegaConf.to_container(pretrained.backbone)
    assert OmegaConf.to_container(cfg.backbone) == same
    assert hosts.LinearModel(backbone, cfg=cfg)


PAPER = {  # Tables 3 and 5, FACTS on solo-learn's scaling of the rate
    "toy/gedi_paper.yaml": (400, 1e-3, (1, 50, 10), (1, 0.01**2 / 2, 0.01)),
    "svhn/gedi.yaml": (64, 1e-4, (1, 50, 25), (20, 1, 0.01)),
    "cifar/gedi.yaml": (64, 1e-4, (1, 50, 25), (20, 1, 0.01)),
    "cifar/gedi.yaml dataset=cifar100": (64, 1e-4, (1, 50, 50), (20, 1, 0.01)),
}


@pytest.mark.parametrize("which", PAPER)
def test_numbers_are_the_papers(which):
    path, *overrides = which.split()
    batch, lr, weights, sgld = PAPER[which]
    cfg = load("pretrain", path, *overrides)
    config.prepare(cfg, required=())
    cfg = runs.parse(cfg, hosts.parse_pretrain)
    kwargs = cfg.method_kwargs
    assert cfg.optimizer.batch_size == batch
    assert cfg.optimizer.lr == pytest.approx(lr)
    assert (kwargs.weights.gen, kwargs.weights.inv, kwargs.weights.prior) == weights
    steps = kwargs.sgld.num_steps, kwargs.sgld.step_size, kwargs.sgld.noise_std
    assert steps == pytest.approx(sgld)
    assert (kwargs.sgld.buffer_size, kwargs.sgld.reinit_prob) == (10000, 0.05)
    assert kwargs.input_noise_std == 0.03
    width = {"cifar/gedi.yaml dataset=cifar100": 256, "toy/gedi_paper.yaml": None}.get(which, 128)
    if width:
        assert cfg.backbone.kwargs.width == width
        assert kwargs.proj_hidden_dim == 2 * width
    epochs = {"toy": 20, "svhn": 20, "cifar": 200}[path.split("/")[0]]
    assert cfg.max_epochs == epochs
    if path.startswith("toy"):
        assert cfg.max_epochs * cfg.limit_train_batches == 20_000


@pytest.mark.parametrize("suite", IMAGES)
def test_fast_recipe_departs_from_gedi_in_the_sampler_alone(suite):
    ours, fast = (load("pretrain", f"{suite}/{name}.yaml") for name in ("gedi", "gedi_fast"))
    papers, sgld = (cfg.method_kwargs.sgld for cfg in (ours, fast))
    changed = {"num_steps": 1, "buffer_size": fast.optimizer.batch_size, "reinit_prob": 0.0025}
    assert sgld == {**papers, **changed}
    # In moves, a chain lives as long.
    assert sgld.num_steps / sgld.reinit_prob == papers.num_steps / papers.reinit_prob
    for cfg in (ours, fast):
        del cfg.name, cfg.method_kwargs.sgld
    assert fast == ours


@pytest.mark.parametrize("method", VARIANTS)
@pytest.mark.parametrize("dataset", ["moons", "circles"])
def test_toy_recipe_departs_from_the_paper_in_what_it_names(method, dataset):
    """Table 3, but for the L2 on the energies."""
    cfg = load("pretrain", f"toy/{method}.yaml", f"dataset={dataset}")
    kwargs = cfg.method_kwargs
    paper = load("pretrain", "toy/gedi_paper.yaml", f"dataset={dataset}")
    for key in ("optimizer", "scheduler", "max_epochs", "limit_train_batches", "data"):
        assert cfg[key] == paper[key]
    assert kwargs.input_noise_std == paper.method_kwargs.input_noise_std
    if "weights" in kwargs:
        assert kwargs.sgld == paper.method_kwargs.sgld
        off = {"gedi_nogen": "gen", "gedi_noinv": "inv", "gedi_nounif": "prior"}.get(method)
        weights = {**paper.method_kwargs.weights, **({off: 0} if off else {})}
        assert kwargs.weights == weights
        assert kwargs.get("energy_l2", 0) == (0.01 if weights["gen"] else 0)


def test_digits_probe_looks_at_the_test_split_only_at_the_end():
    assert load("pretrain", "digits/gedi.yaml").data.val_path == "val"
    assert (
        load("linear", "digits/gedi.yaml", "pretrained_feature_extractor=x").data.val_path == "test"
    )


def test_two_views_of_points_are_copies():
    cfg = load("pretrain", "toy/gedi.yaml")
    config.prepare(cfg, required=())
    cfg = runs.parse(cfg, hosts.parse_pretrain)
    _, views, labels = next(iter(loaders.pretrain_loader(cfg)))
    assert [v.shape for v in views] == [(400, 2)] * 2
    assert (views[0] == views[1]).all()
    assert labels.shape == (400,)
