"""The package as a notebook sees it."""

import copy

import pytest
import torch
from omegaconf import OmegaConf

import solo_gedi as sg


def test_every_name_of_the_front_is_there():
    for name in sg.__all__:
        assert callable(getattr(sg, name)), name
        assert name in dir(sg)
    with pytest.raises(AttributeError, match="no attribute 'pretrian'"):
        _ = sg.pretrian


@pytest.mark.parametrize("method", ["gedi", "swav"])
def test_pretraining_twice_with_one_config_trains_the_same_twice(load_config, method):
    # Which precision is faster may change between two runs on a busy machine.
    pinned = ["+method_kwargs.sgld.precision=fp32"] if method == "gedi" else []
    cfg = load_config(method, "data.num_workers=0", "auto_resume.enabled=false", *pinned)
    before = copy.deepcopy(cfg)
    first, second = sg.pretrain(cfg), sg.pretrain(cfg)
    assert cfg == before
    assert first.folder != second.folder
    own = first.method.state_dict()
    assert all(torch.equal(own[key], value) for key, value in second.method.state_dict().items())
    assert first.config == second.config


def test_a_plain_dict_is_a_config(load_config):
    cfg = load_config("gedi_nogen", "data.num_workers=0", "auto_resume.enabled=false")
    plain = OmegaConf.to_container(cfg)
    before = copy.deepcopy(plain)
    runs = [sg.pretrain(given) for given in (plain, cfg)]
    assert plain == before
    states = [run.method.state_dict() for run in runs]
    assert all(torch.equal(states[0][key], value) for key, value in states[1].items())


def test_probing_twice_gives_the_same_accuracy_twice(load_config, trained):
    (checkpoint,) = trained("gedi").glob("*.ckpt")
    given = f"pretrained_feature_extractor={checkpoint}"
    cfg = load_config("gedi", given, "auto_resume.enabled=false", kind="linear")
    first, second = sg.linear(cfg), sg.linear(cfg)
    assert first.metrics["val_acc1"] == second.metrics["val_acc1"]


def test_from_a_config_to_its_results(load_config, tmp_path):
    """The first page of the documentation, on a run of a second."""
    run = sg.pretrain(load_config("gedi"))
    assert run.interrupted is None
    assert run.checkpoint.parent == run.folder
    assert 0 <= run.metrics["val_acc1"] <= 100
    model = sg.load(run)
    assert model.sample(5, steps=2).shape == (5, 1, 8, 8)
    result = sg.evaluate(model, tasks=("clustering", "ood"))
    assert {row["task"] for row in result.rows} == {"clustering", "ood"}
    assert not result.not_done
    from PIL import Image

    (tmp_path / "photos").mkdir()
    Image.new("L", (20, 20), 128).save(tmp_path / "photos" / "a.png")
    (row,) = sg.predict(model, tmp_path / "photos")
    assert 0 <= row["cluster"] < 10
    comparison = sg.benchmark(
        "digits",
        methods=("gedi_nogen",),
        seeds=1,
        jobs=1,
        evaluate={"tasks": "clustering"},
        overrides=["max_epochs=1", "backbone.kwargs.width=8", "+limit_train_batches=2"],
    )
    assert {row["seeds"] for row in comparison.rows} == {1}
