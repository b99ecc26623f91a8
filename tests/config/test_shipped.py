"""What the shipped configs say, and that each builds what it names."""

import pytest
import torch
from omegaconf import DictConfig, OmegaConf
from torchvision.transforms.functional import to_pil_image

from solo_gedi import hosts
from solo_gedi.config import (
    KINDS,
    LINEAR,
    PRETRAIN,
    list_configs,
    load_config,
    prepare,
    shipped_configs,
)
from solo_gedi.methods import register
from solo_gedi.training import loaders
from solo_gedi.training.job import parse
from solo_gedi.training.pretrain import build_method

VARIANTS = ["gedi", "gedi_nogen", "gedi_noinv", "gedi_nounif", "jem", "swav", "barlow"]
FULL_SIZE = ["fashion", "svhn", "cifar", "custom"]  # with the paper's loss beside a working one
IMAGES = ["digits", *FULL_SIZE]


@pytest.fixture(autouse=True, scope="module")
def registered():
    register()


def load(name, *overrides, kind="pretrain"):
    paths = ["data.train_path=.", "data.val_path=."] if name.startswith("custom") else []
    return load_config(name, [*paths, *overrides], kind=kind)


def leaves(tree, prefix=""):
    """(key, value) of all that a config says; of values as text, since lists have no hash."""
    if not isinstance(tree, dict):
        return {(prefix, str(tree))}
    return set().union(*(leaves(tree[k], f"{prefix}.{k}".lstrip(".")) for k in tree))


def differences(one, other, prefix=""):
    """Key -> what two configs have there, where they are not the same."""
    found = {}
    for key in {*one, *other}:
        here, there = one.get(key), other.get(key)
        if isinstance(here, DictConfig) and isinstance(there, DictConfig):
            found |= differences(here, there, f"{prefix}{key}.")
        elif here != there:
            found[prefix + key] = (here, there)
    return found


def test_every_suite_has_every_method():
    expected = [f"{s}/{m}" for s in ("toy", *IMAGES) for m in VARIANTS]
    fast = [f"{s}/gedi_fast" for s in IMAGES]
    letter = [f"{s}/gedi_paper" for s in ("toy", *FULL_SIZE)]
    assert list_configs() == sorted([*expected, *fast, *letter])
    probes = [f"{s}/{m}" for s in IMAGES for m in ("gedi", "jem", "swav", "barlow")]
    assert list_configs("linear") == sorted(probes)


@pytest.mark.parametrize("name", list_configs())
def test_pretraining_config_builds_its_method(name, tmp_path):
    (tmp_path / "class").mkdir()
    cfg = load(name)
    prepare(cfg, PRETRAIN)
    cfg = parse(cfg, hosts.parse_pretrain)
    model = build_method(cfg)
    assert model.cfg.wandb.entity is None
    if cfg.data.dataset not in ("moons", "circles"):
        for entry in cfg.augmentations:
            assert hosts.build_transform(cfg.data.dataset, entry)


@pytest.mark.parametrize("name", list_configs("linear"))
def test_linear_config_builds_its_backbone(name, tmp_path):
    (tmp_path / "class").mkdir()
    cfg = load(name, "pretrained_feature_extractor=x.ckpt", kind="linear")
    prepare(cfg, LINEAR)
    assert cfg.pretrain_method in hosts.METHODS
    cfg = parse(cfg, hosts.parse_linear)
    backbone = hosts.build_backbone(hosts.BACKBONES, cfg)
    assert OmegaConf.to_container(cfg.backbone) == OmegaConf.to_container(load(name).backbone)
    assert hosts.LinearModel(backbone, cfg=cfg)


def test_no_config_repeats_what_all_runs_share():
    root = shipped_configs()
    shared = leaves(OmegaConf.to_container(OmegaConf.load(root / "shared" / "run.yaml")))
    assert ("wandb.project", "solo-gedi") in shared
    for kind in KINDS:
        for path in (root / kind).rglob("*.yaml"):
            assert not shared & leaves(OmegaConf.to_container(OmegaConf.load(path))), path


PAPER = {  # Tables 3 and 5, FACTS on solo-learn's scaling of the rate
    "toy/gedi_paper": (400, 1e-3, (1, 50, 10), (1, 0.01**2 / 2, 0.01)),
    "svhn/gedi_paper": (64, 1e-4, (1, 50, 25), (20, 1, 0.01)),
    "cifar/gedi_paper": (64, 1e-4, (1, 50, 25), (20, 1, 0.01)),
    "cifar/gedi_paper dataset=cifar100": (64, 1e-4, (1, 50, 50), (20, 1, 0.01)),
    "custom/gedi_paper": (64, 1e-4, (1, 50, 25), (20, 1, 0.01)),
}


@pytest.mark.parametrize("which", PAPER)
def test_numbers_are_the_papers(which):
    name, *overrides = which.split()
    batch, lr, weights, sgld = PAPER[which]
    cfg = parse(load(name, *overrides), hosts.parse_pretrain)
    kwargs = cfg.method_kwargs
    assert cfg.optimizer.batch_size == batch
    assert cfg.optimizer.lr == pytest.approx(lr)
    assert (kwargs.weights.gen, kwargs.weights.inv, kwargs.weights.prior) == weights
    steps = kwargs.sgld.num_steps, kwargs.sgld.step_size, kwargs.sgld.noise_std
    assert steps == pytest.approx(sgld)
    assert (kwargs.sgld.buffer_size, kwargs.sgld.reinit_prob) == (10000, 0.05)
    assert kwargs.input_noise_std == 0.03
    assert kwargs.get("energy_l2", 0) == 0
    width = {"cifar/gedi_paper dataset=cifar100": 256, "toy/gedi_paper": None}.get(which, 128)
    if width:
        assert cfg.backbone.kwargs.width == width
        assert kwargs.proj_hidden_dim == 2 * width
    epochs = {"toy": 20, "svhn": 20}.get(name.split("/")[0], 200)
    assert cfg.max_epochs == epochs
    if name.startswith("toy"):
        assert cfg.max_epochs * cfg.limit_train_batches == 20_000


@pytest.mark.parametrize("which", [*FULL_SIZE, "cifar dataset=cifar100", "fashion dataset=mnist"])
def test_image_recipe_departs_from_the_papers_loss_in_what_it_names(which):
    """Batch norm in the head, the prior summed over the clusters, and an L2 on the energies."""
    suite, *overrides = which.split()
    letter, recipe = (load(f"{suite}/{name}", *overrides) for name in ("gedi_paper", "gedi"))
    clusters = 100 if "dataset=cifar100" in overrides else 10
    weights = letter.method_kwargs.weights
    assert (weights.gen, weights.inv) == (1, 50)
    changed = differences(letter, recipe)
    assert changed.pop("name")
    assert changed.pop("method_kwargs.weights.prior") == (weights.prior, clusters * weights.prior)
    assert changed.pop("method_kwargs.use_bn_in_head") == (False, True)
    assert changed.pop("method_kwargs.energy_l2") == (0, 0.02)
    assert changed.pop("divergence") == ({"policy": "ignore"}, None)
    if suite == "custom":  # chains for as many images as there are
        assert changed.pop("method_kwargs.sgld.buffer_size") == (10000, None)
    assert not changed
    assert parse(recipe, hosts.parse_pretrain).data.num_classes in (clusters, 1)  # 1: a folder here
    jem = load(f"{suite}/jem", *overrides)
    assert jem.method_kwargs.sgld == recipe.method_kwargs.sgld
    assert jem.method_kwargs.energy_l2 == recipe.method_kwargs.energy_l2


@pytest.mark.parametrize("suite", FULL_SIZE)
def test_jem_sees_the_image_as_it_is(suite):
    """Appendix F: Gaussian noise alone, which the method adds."""
    cfg = load(f"{suite}/jem")
    (entry,) = cfg.augmentations
    assert entry.num_crops == 1
    assert cfg.method_kwargs.input_noise_std == 0.03
    view = hosts.build_transform(cfg.data.dataset, entry)
    mean, std = (torch.tensor(part)[:, None, None] for part in hosts.normalization(view))
    two = load(f"{suite}/gedi").augmentations[0]
    augmented = hosts.build_transform(cfg.data.dataset, two)
    assert hosts.normalization(augmented) == hosts.normalization(view)
    torch.manual_seed(0)
    pixels = torch.rand(20, len(mean), entry.crop_size, entry.crop_size)
    pixels = pixels.mul(255).round().div(255)
    images = [to_pil_image(image) for image in pixels]
    seen, changed = (
        torch.stack([make(image) for image in images]) * std + mean for make in (view, augmented)
    )
    torch.testing.assert_close(seen, pixels)
    assert (changed - pixels).abs().mean() > 0.1


def test_what_a_flip_would_make_another_sign_is_not_flipped():
    for dataset, prob in (("fashion_mnist", 0.5), ("mnist", 0), ("kmnist", 0)):
        cfg = load("fashion/gedi", f"dataset={dataset}")
        assert (cfg.data.dataset, cfg.name) == (dataset, f"gedi-{dataset}")
        assert cfg.augmentations[0].horizontal_flip.prob == prob


@pytest.mark.parametrize("suite", IMAGES)
def test_the_probe_is_the_papers_but_on_digits(suite):
    """Table 8."""
    cfg = load(f"{suite}/gedi", "pretrained_feature_extractor=x", kind="linear")
    paper = {"name": "sgd", "batch_size": 100, "weight_decay": 0, "kwargs": {"momentum": 0.9}}
    small = suite == "digits"
    assert cfg.optimizer == {**paper, "lr": 5.12 if small else 1e-3 * 256 / 100}
    assert cfg.max_epochs == (40 if small else 100)
    assert cfg.scheduler.name == ("warmup_cosine" if small else "none")


@pytest.mark.parametrize("suite", ["toy", *IMAGES])
def test_ablations_depart_from_gedi_in_their_term_alone(suite):
    gedi = load(f"{suite}/gedi")
    for ablation, term in (("nogen", "gen"), ("noinv", "inv"), ("nounif", "prior")):
        cfg = load(f"{suite}/gedi_{ablation}")
        changed = differences(gedi, cfg)
        assert changed.pop("name")[1] == gedi.name.replace("gedi-", f"gedi_{ablation}-")
        assert changed.pop(f"method_kwargs.weights.{term}")[1] == 0
        if term == "gen":  # which is what the penalty on the energies is for
            assert changed.pop("method_kwargs.energy_l2", (0, 0))[1] == 0
        if term == "inv" and suite != "toy":  # which alone needs a second view
            two, one = changed.pop("augmentations")
            assert [{**entry, "num_crops": 1} for entry in two] == one
        assert not changed


@pytest.mark.parametrize("suite", IMAGES)
def test_fast_recipe_departs_from_gedi_in_the_sampler_alone(suite):
    ours, fast = (load(f"{suite}/{name}") for name in ("gedi", "gedi_fast"))
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
    cfg = load(f"toy/{method}", f"dataset={dataset}")
    kwargs = cfg.method_kwargs
    paper = load("toy/gedi_paper", f"dataset={dataset}")
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
    assert load("digits/gedi").data.val_path == "val"
    probe = load("digits/gedi", "pretrained_feature_extractor=x", kind="linear")
    assert probe.data.val_path == "test"


def test_two_views_of_points_are_copies():
    cfg = parse(load("toy/gedi"), hosts.parse_pretrain)
    _, views, labels = next(iter(loaders.pretrain_loader(cfg)))
    assert [v.shape for v in views] == [(400, 2)] * 2
    assert (views[0] == views[1]).all()
    assert labels.shape == (400,)
