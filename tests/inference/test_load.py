"""Trained methods, read back without what trained them."""

import json
import shutil
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest
import torch

from solo_gedi import hosts
from solo_gedi.errors import CheckpointError
from solo_gedi.inference import load
from solo_gedi.training import loaders, pretrain

OLD = Path(__file__).parent / "version_0_1"


@pytest.mark.parametrize("method", ["gedi", "jem", "gedi_nogen", "swav", "barlow"])
def test_outputs_are_those_of_the_training_code(load_config, method):
    run = pretrain(load_config(method))
    model = load(run)
    x, labels = next(iter(loaders.plain_loader(run.config, train=False)))
    own = run.method.eval()
    with torch.no_grad():
        expected = own(x)
    features, scores = model(x)
    torch.testing.assert_close(features, expected["feats"])
    torch.testing.assert_close(scores, hosts.cluster_scores(own, expected))
    assert model.output == {"swav": "prototypes", "barlow": "projector"}.get(method, "cluster head")
    assert model.num_clusters == scores.shape[1]
    assert model.has_energy == (method not in ("swav", "barlow"))
    torch.testing.assert_close(model.cluster_probs(x), scores.softmax(1))
    torch.testing.assert_close(model.log_density(x), scores.logsumexp(1))
    assert not model.training


@pytest.mark.parametrize("tau", [0.1, 0.7])
def test_swavs_density_has_its_temperature(trained_copy, tau):
    """p(y|x) = softmax(U^T g(x) / tau), so log p(x) = logsumexp(U^T g(x) / tau)."""
    folder = trained_copy("swav")
    config = json.loads((folder / "args.json").read_text())
    assert config["method_kwargs"]["temperature"] == 0.1
    config["method_kwargs"]["temperature"] = tau
    (folder / "args.json").write_text(json.dumps(config))
    model = load(folder).double()
    x = torch.randn(5, 1, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        g = model.head.projector(model.backbone(x))
    cosines = (g / g.norm(dim=1, keepdim=True)) @ model.head.prototypes.T
    assert cosines.abs().max() <= 1
    torch.testing.assert_close(model.cluster_logits(x), cosines / tau)
    torch.testing.assert_close(model.log_density(x), (cosines / tau).exp().sum(1).log())
    torch.testing.assert_close(model.cluster_probs(x), (cosines / tau).softmax(1))
    assert torch.equal(model.cluster_logits(x).argmax(1), cosines.argmax(1))
    # The gradient of that log p, in units of the sample space.
    x.requires_grad_()
    g = model.head.projector(model.backbone(x))
    cosines = (g / g.norm(dim=1, keepdim=True)) @ model.head.prototypes.T
    (grad,) = torch.autograd.grad((cosines / tau).logsumexp(1).sum(), x)
    expected = -(grad / torch.tensor(model.space.scale).item()).flatten(1).norm(dim=1)
    torch.testing.assert_close(model.ood_score(x.detach()), expected, atol=1e-9, rtol=1e-5)


def test_score_is_the_gradient_norm_in_the_sample_space(trained):
    """Against central differences of log p along one pixel."""
    model = load(trained("gedi")).double()
    x = torch.randn(2, 1, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    samples, step = model.space.to_samples(x), 1e-5
    slopes = []
    for pixel in torch.eye(64, dtype=torch.float64).view(64, 1, 1, 8, 8):
        with torch.no_grad():
            up, down = (
                model.log_density_of_samples(samples + sign * step * pixel) for sign in (1, -1)
            )
        slopes.append((up - down) / (2 * step))
    expected = -torch.stack(slopes).norm(dim=0)
    torch.testing.assert_close(model.ood_score(x), expected, rtol=1e-4, atol=1e-8)


def test_transform_is_that_of_the_evaluation_data(trained):
    folder = trained("gedi")
    model = load(folder)
    cfg = _parsed(folder)
    images = loaders.plain_loader(cfg, train=False).dataset
    expected, _ = images[3]
    images.transform = None
    image, _ = images[3]
    torch.testing.assert_close(model.transform(image), expected)
    assert model.transform(image.convert("RGBA").resize((30, 20))).shape == model.input_shape


def _parsed(folder):
    from omegaconf import OmegaConf

    return OmegaConf.create(json.loads((folder / "args.json").read_text()))


def test_samples_climb_are_seeded_and_may_start_anywhere(trained):
    model = load(trained("gedi"))
    draw = lambda **given: model.sample(  # noqa: E731
        6, steps=10, generator=torch.Generator().manual_seed(3), **given
    )
    fresh = draw()
    assert fresh.shape == (6, 1, 8, 8)
    assert torch.equal(fresh, draw())
    assert torch.equal(fresh, draw(batch_size=6))
    buffer = draw(start="buffer")
    assert torch.equal(buffer, draw(start="buffer"))
    assert not torch.equal(buffer, fresh)
    model.sgld.noise_std, model.sgld.step_size = 0.0, 0.05
    start = torch.zeros(6, 1, 8, 8)
    moved = draw(start=start)
    with torch.no_grad():
        before, after = map(model.log_density_of_samples, (start, moved))
    assert (after > before).all()
    assert not start.any()
    model.sgld.max_grad_norm = 0.01
    short = model.sample(steps=1, start=start)
    assert 0 < short.flatten(1).norm(dim=1).max() <= 0.05 * 0.01 * 1.001


def test_step_size_is_the_one_that_the_run_ended_with(trained_copy):
    folder = trained_copy("gedi")
    (path,) = folder.glob("*.ckpt")
    configured = load(folder).sgld.step_size
    checkpoint = torch.load(path, weights_only=True)
    checkpoint["sampler"]["step_factor"] = 0.25
    torch.save(checkpoint, path)
    assert load(folder).sgld.step_size == pytest.approx(configured / 4)


@pytest.mark.parametrize("name", ["gedi-digits", "jem-moons"])
def test_checkpoints_of_version_0_1_load(name):
    """To the outputs that the version that wrote them gave."""
    expected = torch.load(OLD / name / "outputs.pt", weights_only=True)
    model = load(OLD / name)
    features, scores = model(expected["x"])
    torch.testing.assert_close(features, expected["features"])
    torch.testing.assert_close(scores, expected["scores"])
    assert len(model.chains) == 64
    assert torch.isfinite(model.sample(4, steps=2, start="buffer")).all()


SOLO_LEARNS_OWN = {
    "resnet18": {},
    "vit_tiny": {"img_size": 32, "patch_size": 8},
    "convnext_tiny": {},
}


def solo_learns(backbone):
    """Its own factory: 1.0.2 has ViTs and Swins in a module, and ResNets are torchvision's."""
    if hosts.GENERATION == "github":
        return hosts.BACKBONES[backbone]
    from torchvision import models

    module = models if backbone.startswith("resnet") else import_module("solo.utils.backbones")
    return lambda method, **kwargs: getattr(module, backbone)(**kwargs)


@pytest.mark.parametrize(
    "backbone",
    [name for name in SOLO_LEARNS_OWN if hosts.GENERATION == "github" or "convnext" not in name],
)
@pytest.mark.parametrize("method", ["gedi", *(["mocov3"] if "mocov3" in hosts.METHODS else [])])
def test_backbones_of_torchvision_and_timm_are_those_of_solo_learn(load_config, backbone, method):
    from solo_gedi.backbones import build_backbone

    kwargs = SOLO_LEARNS_OWN[backbone]
    for dataset in ("cifar10", "custom"):
        cfg = load_config("gedi")
        cfg.method = method
        cfg.backbone = {"name": backbone, "kwargs": kwargs}
        cfg.data.dataset = dataset
        theirs = hosts.build_backbone({backbone: solo_learns(backbone)}, cfg).eval()
        ours = build_backbone(backbone, kwargs, method=method, dataset=dataset).eval()
        ours.load_state_dict(theirs.state_dict())
        x = torch.randn(2, 3, 32, 32)
        with torch.no_grad():
            torch.testing.assert_close(ours(x), theirs(x))


def test_neither_solo_learn_nor_lightning_is_needed(trained):
    """Nor Hydra, OmegaConf or wandb: a process in which none of them can be imported."""
    folders = [str(trained("gedi")), str(OLD / "jem-moons"), str(trained("swav"))]
    code = f"""
import sys
for name in ("solo", "lightning", "pytorch_lightning", "hydra", "omegaconf", "wandb"):
    sys.modules[name] = None
import solo_gedi as sg
for folder in {folders}:
    model = sg.load(folder)
    assert model.sample(3, steps=1).isfinite().all()
    print(model.config["method"], model.num_clusters)
from solo_gedi.evaluation.clustering import clustering_metrics
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["gedi", "10", "jem", "2", "swav", "10"]


def damaged(folder, damage):
    (path,) = folder.glob("*.ckpt")
    args = folder / "args.json"
    config = json.loads(args.read_text())
    if damage == "truncated":
        path.write_bytes(path.read_bytes()[:3000])
    elif damage == "no checkpoint":
        path.unlink()
    elif damage == "no args":
        args.unlink()
    elif damage == "probe":
        del config["method"]
        args.write_text(json.dumps(config))
    elif damage == "no projector":
        checkpoint = torch.load(path, weights_only=True)
        state = checkpoint["state_dict"]
        checkpoint["state_dict"] = {k: v for k, v in state.items() if "projector" not in k}
        torch.save(checkpoint, path)
    elif damage == "foreign backbone":
        config["backbone"]["name"] = "wide_resnet28w2"
        args.write_text(json.dumps(config))
    elif damage == "other width":
        config["backbone"]["kwargs"]["width"] = 16
        args.write_text(json.dumps(config))
    return folder


def test_a_folder_around_several_runs_is_not_guessed_from(trained_copy):
    run = trained_copy("gedi")
    around = Path("around")
    shutil.copytree(run, around / "gedi" / "one")
    assert load(around).num_clusters == load(around / "gedi").num_clusters == 10
    shutil.copytree(run, around / "gedi" / "two")
    for folder in (around, around / "gedi"):
        with pytest.raises(CheckpointError, match=r"2 runs: choose one, such as around/gedi/"):
            load(folder)


@pytest.mark.parametrize(
    ("damage", "message"),
    {
        "truncated": r"run/\S+\.ckpt cannot be read: it is cut short",
        "no checkpoint": r"run holds no checkpoint \(\*-ep=N\.ckpt\)",
        "no args": r"run has no args\.json",
        "probe": r"is not of a pretraining run",
        "no projector": r"has no projector to take clusters from",
        "foreign backbone": r"'wide_resnet28w2' .*load\(\.\.\., backbones=",
        "other width": r"of shape \(8, 1, 3, 3\), the config asks for \(16, 1, 3, 3\)",
    }.items(),
)
def test_what_cannot_be_loaded_is_named(trained_copy, damage, message):
    folder = damaged(trained_copy("gedi"), damage)
    with pytest.raises(CheckpointError, match=message) as caught:
        load(folder)
    assert len(str(caught.value).splitlines()) == 1


def test_a_path_that_does_not_exist_is_named():
    with pytest.raises(CheckpointError, match="nowhere does not exist"):
        load("nowhere")


def test_a_run_a_path_a_string_and_a_cell_mean_the_same(trained_copy, tmp_path):
    folder = trained_copy("gedi")
    (path,) = folder.glob("*.ckpt")
    cell = tmp_path / "cell" / "gedi" / "20260102"
    cell.parent.mkdir(parents=True)
    shutil.copytree(folder, cell)
    models = [load(given) for given in (folder, str(folder), path, str(path), tmp_path / "cell")]
    states = [model.state_dict() for model in models]
    assert all(torch.equal(state[k], v) for state in states for k, v in states[0].items())
    assert models[-1].folder == cell


@pytest.mark.parametrize("precision", ["64-true", "bf16-true"])
def test_prototypes_of_another_precision_are_read(trained, precision):
    model = load(trained("swav", f"precision={precision}"))
    assert model.cluster_logits(torch.zeros(2, *model.input_shape)).dtype == torch.float32
