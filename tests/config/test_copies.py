"""`solo-gedi configs`: the shipped configs listed, and copied to be edited."""

import pytest
from omegaconf import OmegaConf

from solo_gedi.cli import main
from solo_gedi.config import copy_configs, list_configs, load_config, shipped_configs
from solo_gedi.errors import ConfigError


def command(capsys, *arguments):
    status = main(["configs", *arguments])
    shown = capsys.readouterr()
    return status, shown.out, shown.err


def test_the_command_lists_every_config_and_what_it_is(capsys):
    status, out, _ = command(capsys)
    assert status == 0
    pretraining, linear = out.split("For `solo-gedi linear`:\n")
    listed = [line.split(maxsplit=1) for line in pretraining.splitlines()[1:]]
    assert [name for name, _ in listed] == list_configs()
    assert [line.split()[0] for line in linear.splitlines()] == list_configs("linear")
    about = dict(listed)
    assert about["digits/swav"] == "swav"
    assert "without the generative term" in about["cifar/gedi_nogen"]
    assert all(" " not in about[name] for name in about if name.endswith(("/gedi", "/barlow")))


def test_a_copy_composes_to_the_same_and_what_is_edited_in_it_counts(capsys, tmp_path):
    status, out, _ = command(capsys, "--copy", "my configs")
    copy = tmp_path / "my configs"
    assert status == 0
    assert "my configs/pretrain/digits/gedi.yaml" in out
    written = sorted(p.relative_to(copy) for p in copy.rglob("*.yaml"))
    assert written == sorted(
        p.relative_to(shipped_configs()) for p in shipped_configs().rglob("*.yaml")
    )
    for kind in ("pretrain", "linear"):
        for name in list_configs(kind):
            if name.startswith("digits"):
                copied = load_config(copy / kind / f"{name}.yaml")
                assert copied == load_config(name, kind=kind), name
    for file, key in (("shared/run", "seed"), ("pretrain/digits/base", "max_epochs")):
        path = copy / f"{file}.yaml"
        cfg = OmegaConf.load(path)
        cfg[key] = 77
        OmegaConf.save(cfg, path)
        path.write_text("# @package _global_\n" + path.read_text())
    edited = load_config(copy / "pretrain" / "digits" / "gedi_fast.yaml")
    assert (edited.seed, edited.max_epochs) == (77, 77)
    assert load_config("digits/gedi_fast").seed == 5


def test_nothing_is_overwritten(capsys, tmp_path):
    mine = tmp_path / "out" / "shared" / "run.yaml"
    mine.parent.mkdir(parents=True)
    mine.write_text("mine: true")
    status, _, err = command(capsys, "--copy", "out")
    assert status == 2
    assert err == (
        "solo-gedi configs: error: out already holds 1 of the files, out/shared/run.yaml among "
        "them: nothing was copied; choose another folder\n"
    )
    assert [p for p in tmp_path.rglob("*") if p.is_file()] == [mine]
    assert mine.read_text() == "mine: true"


def test_a_folder_that_cannot_be_written_to_is_refused(tmp_path):
    (tmp_path / "afile").write_text("x")
    with pytest.raises(ConfigError, match="cannot write to afile"):
        copy_configs("afile")
