"""What a resumed run is told, and what it does."""

import json
import logging
import shutil
from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf

from solo_gedi import hosts
from solo_gedi.errors import CheckpointError, ConfigError
from solo_gedi.methods import register
from solo_gedi.training import linear, pretrain
from solo_gedi.training.callbacks import GracefulStop
from solo_gedi.training.job import parse
from solo_gedi.training.resume import differences

VERSION_0_1 = Path(__file__).parents[1] / "inference" / "version_0_1"


@pytest.fixture
def rates(monkeypatch):
    """The learning rates of every step since the last look, a list of the groups' a step."""
    seen = []
    end = GracefulStop.on_train_batch_end

    def noted(self, trainer, *rest):
        end(self, trainer, *rest)
        seen.append([group["lr"] for group in trainer.optimizers[0].param_groups])

    monkeypatch.setattr(GracefulStop, "on_train_batch_end", noted)

    def look():
        found = seen[:]
        seen.clear()
        return found

    return look


@pytest.fixture
def cosine(load_config):
    """A cheap config with a schedule, changed by keys."""

    def make(changes, **names):
        method = "gedi" if names else "gedi_nogen"
        cfg = load_config(method, "data.num_workers=0", **names)
        cfg.scheduler = {"name": "warmup_cosine", "warmup_epochs": 1}
        for key, value in changes.items():
            OmegaConf.update(cfg, key, value)
        return cfg

    return make


@pytest.mark.parametrize("interval", ["step", "epoch"])
def test_more_epochs_are_those_of_the_longer_schedule(cosine, tmp_path, rates, interval):
    given = {"scheduler.interval": interval, "max_epochs": 4, "checkpoint.keep_prev": True}
    pretrain(cosine({**given, "checkpoint.dir": str(tmp_path / "whole")}))
    whole = rates()
    short = pretrain(cosine({**given, "max_epochs": 2}))
    rates()
    longer = pretrain(cosine({**given, "resume_from_checkpoint": str(short.checkpoint)}))
    assert rates() == whole[6:]
    assert whole[6] != whole[-1]
    assert json.loads((longer.folder / "args.json").read_text())["max_epochs"] == 4

    content = torch.load(short.checkpoint, weights_only=True)
    (schedule,) = content["lr_schedulers"]
    schedule["base_lrs"] = [rate / 2 for rate in schedule["base_lrs"]]
    for group in content["optimizer_states"][0]["param_groups"]:
        group["lr"], group["initial_lr"] = group["lr"] / 2, group["initial_lr"] / 2
    recovered = tmp_path / "recovered-ep=1.ckpt"
    torch.save(content, recovered)
    pretrain(cosine({**given, "resume_from_checkpoint": str(recovered)}))
    for halved, full in zip(rates(), whole[6:], strict=True):
        assert halved == pytest.approx([rate / 2 for rate in full], rel=1e-5)


def test_rates_that_no_schedule_changes_stay_and_are_read_back(cosine, tmp_path, rates):
    """SimSiam's predictor has one."""

    def train(**changes):
        cfg = cosine({"limit_train_batches": 2, "checkpoint.keep_prev": True, **changes})
        cfg.method = "simsiam"
        cfg.method_kwargs = {"proj_hidden_dim": 8, "proj_output_dim": 8, "pred_hidden_dim": 4}
        return pretrain(cfg), rates()

    _, whole = train(max_epochs=3, **{"checkpoint.dir": str(tmp_path / "whole")})
    short, _ = train(max_epochs=2)
    _, longer = train(max_epochs=3, resume_from_checkpoint=str(short.checkpoint))
    assert longer == whole[4:]
    assert len({tuple(rate) for rate in zip(*whole, strict=True)}) > 1
    assert any(len({*group}) == 1 for group in zip(*whole, strict=True))


def test_the_probe_follows_a_longer_schedule_and_refuses_another_rate(cosine, trained, rates):
    (backbone,) = trained("gedi").glob("*.ckpt")
    rates()
    given = {"checkpoint.keep_prev": True, "pretrained_feature_extractor": str(backbone)}
    linear(cosine({**given, "max_epochs": 3, "name": "whole"}, kind="linear"))
    whole = rates()
    run = linear(cosine({**given, "max_epochs": 2}, kind="linear"))
    rates()
    more = {**given, "max_epochs": 3, "resume_from_checkpoint": str(run.checkpoint)}
    linear(cosine(more, kind="linear"))
    assert rates() == whole[6:]
    with pytest.raises(CheckpointError, match="is of a run with optimizer.weight_decay=0, which"):
        linear(cosine({**more, "optimizer.weight_decay": 1.0}, kind="linear"))


REFUSED = {
    "optimizer.lr": 123.0,
    "optimizer.weight_decay": 0.5,
    "optimizer.batch_size": 32,
    "optimizer.kwargs.betas": [0.5, 0.9],
    "optimizer.name": "sgd",
    "scheduler.warmup_epochs": 0,
    "scheduler.name": "none",
    "method_kwargs.weights.inv": 7.0,
    "augmentations.0.color_jitter.prob": 0.1,
    "backbone.kwargs.width": 16,
    "accumulate_grad_batches": 2,
    "limit_train_batches": 2,
    "seed": 6,
    "method": "swav",
}


def test_what_cannot_change_is_refused_by_its_name(cosine):
    run = pretrain(cosine({}))
    before = sorted(run.folder.parent.iterdir())
    more = {"max_epochs": 2, "resume_from_checkpoint": str(run.checkpoint)}
    for key, value in REFUSED.items():
        cfg = cosine({**more, key: value})
        if key == "method":
            sizes = {"proj_hidden_dim": 8, "proj_output_dim": 8, "num_prototypes": 10}
            cfg.method_kwargs = {**sizes, "temperature": 0.1}
        with pytest.raises(CheckpointError) as caught:
            pretrain(cfg)
        said = str(caught.value)
        assert f"{run.checkpoint} is of a run with {key}=" in said
        assert f"which one with {key}={value} cannot continue" in said
    assert sorted(run.folder.parent.iterdir()) == before, "a refused run leaves nothing"


def test_what_can_change_is_followed_and_said(cosine, caplog):
    run = pretrain(cosine({}))
    changes = {
        "max_epochs": 2,
        "data.num_workers": 1,
        "log_every_n_steps": 2,
        "limit_val_batches": 1,
        "checkpoint.keep_prev": True,
        "name": "other",
        "precision": "bf16-mixed",
        "data.val_path": "test",
    }
    caplog.set_level(logging.INFO, "solo_gedi")
    again = pretrain(cosine({**changes, "resume_from_checkpoint": str(run.checkpoint)}))
    assert again.folder == run.folder
    assert again.checkpoint.name.startswith("other-")
    args = OmegaConf.create(json.loads((run.folder / "args.json").read_text()))
    assert {key: OmegaConf.select(args, key) for key in changes} == changes
    (said,) = (line for line in caplog.messages if "from there on with" in line)
    assert said.startswith(f"Resuming from {run.checkpoint}, ")
    assert "max_epochs=2 (was 1)" in said
    assert "precision=bf16-mixed (was 32-true)" in said
    assert "log_every_n_steps" not in said
    with pytest.raises(ConfigError, match=r"max_epochs=2: .* already has 2; set a larger value"):
        pretrain(cosine({**changes, "resume_from_checkpoint": str(again.checkpoint)}))


def test_auto_resume_tells_of_a_run_that_is_shorter_alone(cosine, caplog):
    run = pretrain(cosine({}))
    caplog.set_level(logging.INFO, "solo_gedi")
    longer = pretrain(cosine({"max_epochs": 2, "auto_resume.enabled": True}))
    assert longer.folder != run.folder
    expected = f"{run.checkpoint} differs from this run only in max_epochs=1"
    assert any(expected in message for message in caplog.messages)


@pytest.mark.parametrize("kind", ["pretrain", "linear"])
def test_every_key_of_a_config_is_looked_at(cosine, kind):
    register()
    given = {"pretrained_feature_extractor": "a.ckpt"} if kind == "linear" else {}
    cfg = parse(cosine(given, kind=kind), getattr(hosts, f"parse_{kind}"))
    container = OmegaConf.to_container(cfg)
    assert differences(container, cfg) == []
    leaves = [key for key, _ in leaves_of(container)]
    assert len(leaves) > 50
    # What rates are multiplied by changes them, too; a rate that nothing is validated by is none.
    together = ("devices", "num_nodes", "optimizer.batch_size", "data.val_path")
    for key in leaves:
        changed = cfg.copy()
        value = OmegaConf.select(cfg, key)
        other = not value if isinstance(value, bool) else value + 1 if is_number(value) else "other"
        OmegaConf.update(changed, key, other)
        found = [name for name, _, _ in differences(container, changed)]
        assert found == [key] or (key in together and key in found), key


def is_number(value):
    return isinstance(value, int | float)


def leaves_of(tree, key=""):
    if isinstance(tree, dict) and tree:
        for name, branch in tree.items():
            yield from leaves_of(branch, f"{key}.{name}".lstrip("."))
    elif isinstance(tree, list) and tree and isinstance(tree[0], dict):
        yield from leaves_of({str(i): item for i, item in enumerate(tree)}, key)
    else:
        yield key, tree


def test_rates_are_compared_without_the_devices_they_are_multiplied_by():
    one = {"devices": "1", "optimizer": {"lr": 0.25, "batch_size": 64}, "data": {}}
    two = {"devices": [0, 1], "optimizer": {"lr": 0.5, "batch_size": 64}, "data": {}}
    assert differences(one, two) == [("devices", "1", [0, 1])]
    two["optimizer"]["lr"] = 0.25
    assert ("optimizer.lr", 1.0, 0.5) in differences(one, two)


def test_a_run_of_version_0_1_goes_on(tmp_path):
    folder = Path(shutil.copytree(VERSION_0_1 / "gedi-digits", tmp_path / "old"))
    (old,) = folder.glob("*.ckpt")
    cfg = OmegaConf.create(json.loads((folder / "args.json").read_text()))
    cfg.optimizer.lr = cfg.optimizer.classifier_lr = cfg.optimizer.lr * 4  # as it was given
    for counted in ("num_classes", "num_large_crops", "num_small_crops"):
        del cfg.data[counted]
    cfg.max_epochs, cfg.resume_from_checkpoint = 3, str(old)
    cfg.checkpoint.dir = str(tmp_path / "new")
    run = pretrain(cfg)
    saved = torch.load(run.checkpoint, weights_only=True)
    assert saved["epoch"] == 2
    assert saved["global_step"] == 12
    cfg.method_kwargs.energy_l2 = 1
    with pytest.raises(CheckpointError, match="is of a run with method_kwargs.energy_l2=0.02"):
        pretrain(cfg)
