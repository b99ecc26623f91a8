"""Broken checkpoints: status 2, a short message that names the file, nothing changed."""

import json
import pickle
import re
import shutil

import pytest
import torch

from solo_gedi.config import load_config
from solo_gedi.training import pretrain

QUICK = (
    *("enable_progress_bar=false", "+enable_model_summary=false", "auto_resume.enabled=false"),
    *("+limit_val_batches=2", "backbone.kwargs.width=8", "optimizer.batch_size=8"),
)
SAMPLER = ("method_kwargs.sgld.num_steps=2", "method_kwargs.sgld.buffer_size=50")
DIGITS = (*QUICK, *SAMPLER, "+limit_train_batches=2", "max_epochs=1")


@pytest.fixture(scope="module")
def once(tmp_path_factory):
    """The folder of a run on digits, trained once for all cases."""
    given = [*DIGITS, f"checkpoint.dir={tmp_path_factory.mktemp('once')}"]
    return pretrain(load_config("digits/gedi", given)).folder


@pytest.fixture
def run(once, tmp_path):
    """A copy of it; its checkpoint is `run/a-ep=0.ckpt`."""
    (checkpoint,) = once.glob("*.ckpt")
    (tmp_path / "run").mkdir()
    shutil.copy(once / "args.json", tmp_path / "run")
    shutil.copy(checkpoint, tmp_path / "run" / "a-ep=0.ckpt")
    return tmp_path / "run"


def saved(change):
    """Damage to what torch has saved."""

    def damage(checkpoint, args):
        content = torch.load(checkpoint, weights_only=True)
        torch.save(change(content), checkpoint)

    return damage


def noted(**changes):
    """Damage to the config beside a checkpoint; None drops a key."""

    def damage(checkpoint, args):
        cfg = {**json.loads(args.read_text()), **changes}
        args.write_text(json.dumps({k: v for k, v in cfg.items() if v is not None}))

    return damage


def with_nan(content):
    next(iter(content["state_dict"].values())).fill_(float("nan"))
    return content


def as_folder(checkpoint, args):
    checkpoint.unlink()
    checkpoint.mkdir()


UNREADABLE = {
    "empty": lambda checkpoint, args: checkpoint.write_bytes(b""),
    "cut short": lambda checkpoint, args: checkpoint.write_bytes(checkpoint.read_bytes()[:5000]),
    "text": lambda checkpoint, args: checkpoint.write_text("hello"),
    "pickle of a path": lambda checkpoint, args: checkpoint.write_bytes(pickle.dumps(args)),
    "list": saved(lambda content: [1, 2]),
    "no tensors": saved(lambda content: {"state_dict": {"a": 1}}),
    "no weights": saved(lambda content: {"state_dict": {}}),
    "NaN": saved(with_nan),
    "folder": as_folder,
    "no JSON": lambda checkpoint, args: args.write_text("{"),
    "no text": lambda checkpoint, args: args.write_bytes(b"\xff\xfe"),
    "JSON of a list": lambda checkpoint, args: args.write_text("[1]"),
    "other method": noted(method="barlow_twins"),
}
NAMES = {  # what the message must name where it is not the checkpoint
    "no JSON": r"run/args\.json is not the JSON of a config",
    "no text": r"run/args\.json is not the JSON of a config",
    "JSON of a list": r"run/args\.json is not the JSON of a config",
    "other method": r"barlow_twins|another network|proj_hidden_dim",
    "NaN": r"in checkpoint run/a-ep=0\.ckpt is not finite",
    "no tensors": r"run/a-ep=0\.ckpt has no state_dict",
    "folder": r"run/a-ep=0\.ckpt (does not exist|holds no checkpoint)",
}


# A run goes on by the config that its checkpoint holds, and writes args.json anew.
OF_NO_ACCOUNT = ("no JSON", "no text", "JSON of a list", "other method")


@pytest.mark.parametrize("command", ["evaluate", "linear", "resume"])
@pytest.mark.parametrize("damage", UNREADABLE)
def test_a_checkpoint_that_cannot_be_used_is_named(refused, named, run, damage, command):
    UNREADABLE[damage](run / "a-ep=0.ckpt", run / "args.json")
    given = "run/a-ep=0.ckpt"
    if command == "evaluate":
        message = refused("evaluate", "run", "--tasks", "clustering")
    elif command == "linear":
        probe = [*QUICK, f"pretrained_feature_extractor={given}"]
        message = refused("linear", *named(), *probe)
    else:
        message = refused("pretrain", *named(), *DIGITS, f"resume_from_checkpoint={given}")
    names = NAMES.get(damage, r"checkpoint run/a-ep=0\.ckpt")
    if command == "resume" and damage in OF_NO_ACCOUNT:
        names = r"^max_epochs=1: resume_from_checkpoint=run/a-ep=0\.ckpt already has 1"
    assert re.search(names, message), message
    assert len(message.splitlines()) == 1


NOT_OF_THIS_RUN = {
    "evaluate run": (
        (noted(augmentations=None), r"augmentations is missing from run/args\.json"),
        (noted(method=None), r"args\.json names no method"),
        (noted(method="gedy"), r"method='gedy' does not exist"),
        (noted(data=3), r"data must be a section.*got 3"),
        (
            noted(backbone={"name": "resnet18"}),
            r"lacks backbone\.\S+: it belongs to another",
        ),
        (noted(method_kwargs={"steps": 3}), r"method_kwargs\.steps: unknown key"),
        (lambda checkpoint, args: args.unlink(), r"run has no args\.json"),
        (lambda checkpoint, args: checkpoint.rename("run/a-ep=last.ckpt"), r"no checkpoint"),
    ),
    "evaluate run data.val_pth=test": ((None, r"val_pth"),),
    "evaluate run data.dataset=imagenett": ((None, r"data\.dataset='imagenett' does not exist"),),
    "evaluate run data.test_path=tests": ((None, r"train, val or test, not 'tests'"),),
    "evaluate run data.num_workers=-1": ((None, r"data\.num_workers must be.*got -1"),),
    "evaluate run a=[1": ((None, r"a=\[1"),),
    "evaluate run --tasks linear probe=3": ((None, r"probe=3"),),
    "evaluate run --tasks linear probe.optimizer.lr=x": ((None, r"optimizer\.lr must be.*'x'"),),
    "evaluate run --tasks fid --inception-weights run/args.json": ((None, r"Inception weights"),),
    "evaluate run --tasks fid --fid-features /etc": ((None, r"holds no checkpoint"),),
    "resume jem": ((None, r"run/a-ep=0\.ckpt is of a run with method=gedi.*method=jem"),),
    "resume gedi optimizer.name=sgd": ((None, r"optimizer\.name=adam.*optimizer\.name=sgd"),),
    "resume gedi scheduler.name=none": ((None, r"scheduler\.name=warmup_cosine"),),
    "resume gedi backbone.kwargs.width=16": ((None, r"kwargs\.width=8.*kwargs\.width=16"),),
    "resume gedi method_kwargs.sgld.buffer_size=60 max_epochs=2": (
        (None, r"buffer_size=50.*buffer_size=60"),
    ),
    "resume gedi augmentations.0.crop_size=6": ((None, r"crop_size=8.*crop_size=6"),),
    "resume gedi": (
        (saved(lambda content: {"state_dict": content["state_dict"]}), r"holds only weights"),
    ),
    "linear pretrain_method=swav": ((None, r"pretrained with gedi.*pretrain_method=swav"),),
    "linear data.augmentations=3": ((None, r"data\.augmentations must be a section.*got 3"),),
    "linear data.val_path=null": ((None, r"data\.val_path is missing"),),
    "linear data.dataset=moons": ((None, r"cannot take inputs of shape"),),
    "linear optimizer.kwargs.momentum=x": ((None, r"optimizer\.kwargs=.*'momentum': 'x'"),),
}
CASES = [(line, *case) for line, cases in NOT_OF_THIS_RUN.items() for case in cases]


@pytest.mark.parametrize(("line", "damage", "names"), CASES, ids=[f"{c[0]}: {c[2]}" for c in CASES])
def test_a_run_that_does_not_fit_is_refused(refused, named, run, line, damage, names):
    if damage is not None:
        damage(run / "a-ep=0.ckpt", run / "args.json")
    command, first, *rest = line.split()
    if command == "evaluate":
        message = refused(*line.split(), *([] if "--tasks" in line else ["--tasks", "clustering"]))
    elif command == "linear":
        given = "pretrained_feature_extractor=run/a-ep=0.ckpt"
        message = refused("linear", *named(), *QUICK, given, first)
    else:
        given = "resume_from_checkpoint=run/a-ep=0.ckpt"
        message = refused("pretrain", *named(first), *DIGITS, given, *rest)
    assert re.search(names, message), message
    assert len(message.splitlines()) == 1


def test_what_lies_broken_beside_a_run_does_not_keep_it_from_starting(load_config, tmp_path):
    broken = tmp_path / "trained_models" / "gedi" / "broken"
    broken.mkdir(parents=True)
    (broken / "args.json").write_text("{")
    (broken / "a-ep=0.ckpt").write_text("")
    (broken / "a-ep=last.ckpt").write_text("")
    run = pretrain(load_config("gedi", "auto_resume.enabled=true", "max_epochs=2"))
    assert run.folder != broken
