"""Naming a config, composing it, and taking one as it is given."""

import re
import shlex
import sys
from copy import deepcopy
from pathlib import Path

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import given, settings
from hypothesis import strategies as st
from omegaconf import DictConfig, OmegaConf

from solo_gedi.config import (
    as_config,
    find_config,
    load_config,
    read_overrides,
)
from solo_gedi.config.compose import _as_meant
from solo_gedi.errors import ConfigError

OWN = """
defaults:
  - /pretrain/digits/gedi@_global_
  - _self_
  - override /pretrain/digits/augmentations@augmentations: one_view

name: mine
max_epochs: 3
"""


@pytest.mark.parametrize("name", ["digits/gedi", "digits/gedi.yaml", Path("digits/gedi")])
def test_a_shipped_config_is_named_with_or_without_its_suffix(name):
    cfg = load_config(name, ["max_epochs=7", "+data.fraction=0.1"])
    assert (cfg.name, cfg.max_epochs, cfg.data.fraction) == ("gedi-digits", 7, 0.1)
    assert load_config(name, kind="linear").name == "gedi-digits-linear"


@pytest.mark.parametrize("suffix", ["", ".yaml"])
@pytest.mark.parametrize("kind", [str, Path])
@pytest.mark.parametrize("folder", [".", "some where", "absolute"])
def test_a_path_is_taken_with_or_without_its_suffix(tmp_path, folder, kind, suffix):
    place = tmp_path / "elsewhere" if folder == "absolute" else Path(folder)
    place.mkdir(exist_ok=True)
    (place / "my.own.yaml").write_text("my: {size: 1}\nseed: ${my.size}\n")
    assert load_config(kind(place / f"my.own{suffix}"), ["my.size=2"]) == {"seed": 2}


def test_a_file_wins_over_a_shipped_config_of_its_name(tmp_path):
    (tmp_path / "digits").mkdir()
    (tmp_path / "digits" / "gedi.yaml").write_text("mine: true")
    assert load_config("digits/gedi") == {"mine": True}
    assert load_config("digits/swav").method == "swav"


def test_a_config_of_ones_own_derives_from_a_shipped_one(tmp_path):
    (tmp_path / "own.yaml").write_text(OWN)
    own, shipped = load_config("own", ["optimizer.lr=1"]), load_config("digits/gedi_noinv")
    assert (own.name, own.max_epochs, own.optimizer.lr) == ("mine", 3, 1)
    assert own.augmentations == shipped.augmentations
    assert own.method_kwargs == load_config("digits/gedi").method_kwargs


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("digits/gedy", "digits/gedi"),
        ("digits/gedi_fats.yaml", "digits/gedi_fast"),
        ("cifar10/swav", "cifar/swav"),
        ("jem", "toy/jem"),
        ("./absent/gedi.yaml", None),
        ("zzz", None),
        ("", None),
        (".", None),
        ("..", None),
    ],
)
def test_an_unknown_name_lists_the_near_ones(name, near):
    with pytest.raises(ConfigError) as refused:
        load_config(name)
    message = str(refused.value)
    assert re.match(rf"no pretrain config '{re.escape(name)}'", message)
    assert "`solo-gedi configs` lists them" in message
    if near is not None:
        (names,) = re.findall(r"did you mean (.*?)\?", message)
        assert near in names.split(", ")


def test_only_one_kind_is_searched():
    with pytest.raises(ConfigError, match=r"no linear config 'digits/gedi_fast'.*digits/gedi"):
        find_config("digits/gedi_fast", "linear")
    with pytest.raises(ConfigError, match="kind must be one of pretrain, linear, got 'probe'"):
        load_config("digits/gedi", kind="probe")


BROKEN = {
    "a: [": "config it",
    "[1, 2]": "config it",
    "a: ${b}": r"config it with \+x=1: Interpolation key 'b' not found",
    "defaults: [nowhere]\n": r"config it with \+x=1: .*Could not load 'nowhere'",
    "defaults: 3\n": "config it",
    "a: \x00": "config it",
}


@pytest.mark.parametrize("text", BROKEN)
def test_a_broken_file_is_named(tmp_path, text):
    (tmp_path / "it.yaml").write_text(text)
    with pytest.raises(ConfigError, match=BROKEN[text]) as refused:
        load_config("it", ["+x=1"])
    assert len(str(refused.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("optimiser.lr=1", r"Could not override 'optimiser.lr'.*\+optimiser.lr=1"),
        ("optimizer.lr=[1", r"config digits/gedi with optimizer.lr=\[1"),
        ("augmentations=three", r"Could not find 'augmentations/three' .*one_view two_views"),
        ("+@=", r"config digits/gedi with \+@=: Hydra cannot read it"),
        ("seed=1,2", r"Ambiguous value for argument 'seed=1,2'"),
    ],
)
def test_a_wrong_override_is_named(override, message):
    with pytest.raises(ConfigError, match=message) as refused:
        load_config("digits/gedi", [override])
    assert "search path" not in str(refused.value).lower()


def test_overrides_are_a_list():
    with pytest.raises(ConfigError, match=r"must be a list as .*got 'max_epochs=5'"):
        load_config("digits/gedi", "max_epochs=5")


@pytest.mark.parametrize("value", ["run/gedi-ep=29.ckpt", '"run/gedi-ep=29.ckpt"'])
def test_a_value_may_hold_an_equals_sign(value):
    cfg = load_config("digits/gedi", [f"pretrained_feature_extractor={value}"], kind="linear")
    assert cfg.pretrained_feature_extractor == "run/gedi-ep=29.ckpt"


def test_composing_leaves_hydra_as_it_was(tmp_path):
    from hydra import compose, initialize_config_dir

    (tmp_path / "app.yaml").write_text("mine: 1")
    with initialize_config_dir(str(tmp_path), version_base="1.2"):
        assert load_config("digits/gedi").method == "gedi"
        with pytest.raises(ConfigError):
            load_config("digits/gedi", ["foo"])
        assert compose("app") == {"mine": 1}


def test_a_search_path_of_ones_own_is_searched_too(tmp_path):
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "part.yaml").write_text("a: 1")
    path = f"hydra:\n  searchpath: ['file://{tmp_path}/more']\n"
    (tmp_path / "it.yaml").write_text(f"defaults: [/shared/run, part, _self_]\n{path}")
    assert (load_config("it").a, load_config("it").seed) == (1, 5)


def test_a_dict_is_taken_and_stays_as_it_is():
    given = {"a": {"b": [1, {"c": Path("x/y")}]}, "d": "${a.b}", "e": (1, 2)}
    before = deepcopy(given)
    cfg = as_config(given)
    assert isinstance(cfg, DictConfig)
    assert cfg == {"a": {"b": [1, {"c": "x/y"}]}, "d": [1, {"c": "x/y"}], "e": [1, 2]}
    cfg.a.b[1].c = cfg.new = 3
    assert given == before


def test_a_config_is_copied_whatever_it_allows():
    given = OmegaConf.create({"a": {"b": "${c}"}, "c": 1, "m": "???"})
    OmegaConf.set_struct(given, True)
    OmegaConf.set_readonly(given, True)
    cfg = as_config(given)
    cfg.a.b, cfg.new = 5, 6
    assert given == OmegaConf.create({"a": {"b": "${c}"}, "c": 1, "m": "???"})
    assert OmegaConf.is_missing(cfg, "m")
    assert as_config(given.a) == {"b": 1}, "what a section refers to may lie outside"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([1], r"must have keys, got \[1\]"),
        (None, "must have keys, got None"),
        ("digits/gedi", "must have keys, got 'digits/gedi'"),
        (OmegaConf.create([1]), r"must have keys, got \[1\]"),
        ({"a": {"b": object()}}, r"cannot be read at a\.b: .*object"),
        ({"a": "${b}"}, "cannot be read: Interpolation key 'b' not found"),
    ],
)
def test_what_is_no_config_is_refused(given, message):
    with pytest.raises(ConfigError, match=message):
        as_config(given)


def test_importing_costs_neither_torch_nor_hydra(console):
    heavy = "[m for m in ('torch', 'hydra', 'omegaconf', 'solo') if m in sys.modules]"
    code = f"import sys; from solo_gedi.config import list_configs; list_configs(); print({heavy})"
    assert console(sys.executable, "-c", code).stdout.strip() == "[]"
    code = f"import sys, solo_gedi.config as c; c.load_config('toy/gedi'); print({heavy})"
    assert console(sys.executable, "-c", code).stdout.strip() == "['hydra', 'omegaconf']"


NAMES = (
    *(
        "bilder_ä",
        "名前",
        "images (1)",
        "a b",
        "a&b",
        "a,b",
        "it's",
        'say "x"',
        "a#b",
        "a #b",
        "a;b",
    ),
    *("a=b", "a=b's", "a:b", "a: b", "100%", "$HOME", "C:\\data\\x", "&x", "*", "!x", "@x", "a|b"),
    *("Größe (1) & [2], it's #3", "a'b\"c", "a,b\\", "x[1]", "x{y}"),
)


@pytest.mark.parametrize("name", NAMES)
def test_names_of_folders_need_no_quotes(name):
    assert load_config("custom/gedi", [f"data.train_path={name}"]).data.train_path == name
    assert read_overrides([f"data.train_path={name}"]).data.train_path == name


@settings(max_examples=300, deadline=None)
@given(st.text(st.characters(exclude_categories=["Cc", "Cs"], exclude_characters="\\"), min_size=1))
def test_a_value_is_text_as_it_stands_or_what_hydra_reads(name):
    override = _as_meant(f"a={name}")
    if name[0] in "\"'[{":
        assert override == f"a={name}"
        return
    value = OverridesParser.create().parse_override(override).value()
    if isinstance(value, str) and "${" not in name:
        assert value in (name, name.strip(" "))


def test_a_home_folder_is_found_wherever_a_path_stands(monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    typed = ["data.train_path=~/images (1)", "checkpoint.dir=~/runs"]
    cfg = load_config("custom/gedi", typed)
    assert (cfg.data.train_path, cfg.checkpoint.dir) == ("/home/me/images (1)", "/home/me/runs")
    assert read_overrides(typed).data.train_path == "/home/me/images (1)"
    assert as_config({"data": {"train_path": "~/a"}}).data.train_path == "/home/me/a"


@pytest.mark.parametrize("name", ["{x}", "[a] b", "'a' b", '"a', "choice(1,2)"])
def test_what_starts_as_something_else_is_refused_with_what_to_type(name):
    with pytest.raises(ConfigError, match="if it is text, type ") as refusal:
        load_config("custom/gedi", [f"data.train_path={name}"])
    (typed,) = shlex.split(str(refusal.value).partition("if it is text, type ")[2])
    assert load_config("custom/gedi", [typed]).data.train_path == name


def test_changes_are_values_or_text():
    changes = read_overrides(
        ["a=1", "b.c=null", "b.d=[x, 2]", "e='q #1'", "f=${a}", "g=true", "h="]
    )
    expected = {"a": 1, "b": {"c": None, "d": ["x", 2]}, "e": "q #1", "f": 1, "g": True, "h": None}
    assert OmegaConf.to_container(changes, resolve=True) == expected
    with pytest.raises(ConfigError, match=r"^a=\[1: "):
        read_overrides(["a=[1"])
