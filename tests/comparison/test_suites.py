"""What suites are made of: cells, their commands, and what tells them from others."""

import json
import shutil
from pathlib import Path

import pytest

from solo_gedi.cli import parser_of
from solo_gedi.comparison.plan import Cell, cells_of
from solo_gedi.comparison.suites import SUITES
from solo_gedi.config import find_config, list_configs
from solo_gedi.errors import ConfigError


def test_cells_are_commands(tmp_path):
    options = {"tasks": ("clustering", "triad"), "num_samples": 50, "inception_weights": None}
    toy = cells_of(SUITES["toy"], ["gedi"], [5, 6], tmp_path, None, ["max_epochs=1"], options)
    assert [cell.dataset for cell in toy] == ["moons", "circles"]
    assert toy[0].command == (
        f"solo-gedi toy {tmp_path}/moons/gedi toy/gedi --seeds 5,6 --tasks clustering,triad "
        "--num-samples 50 dataset=moons max_epochs=1"
    )
    digits = cells_of(SUITES["digits"], ["gedi_nogen", "swav"], [0], tmp_path)
    assert [cell.results_of(0) for cell in digits] == [
        tmp_path / "digits" / method / "seed=0" / "metrics.json"
        for method in ("gedi_nogen", "swav")
    ]
    assert digits[0].command == (
        f"solo-gedi cell {tmp_path}/digits/gedi_nogen/seed=0 digits/gedi_nogen "
        "--linear-config digits/gedi seed=0"
    )
    cifar = cells_of(SUITES["cifar100"], [], [0], tmp_path)
    assert all("dataset=cifar100" in cell.arguments for cell in cifar)
    assert "--ood svhn,cifar10,uniform,shuffled" in cifar[0].command  # the paper's, and ours
    fashion = cells_of(SUITES["fashion"], [], [0], tmp_path)
    assert {cell.method for cell in fashion} == {cell.method for cell in cifar}
    assert fashion[0].folder == tmp_path / "fashion_mnist" / "jem" / "seed=0"
    assert "--ood mnist,digits,uniform,shuffled" in fashion[0].command
    letter = next(cell for cell in fashion if cell.method == "gedi_paper")
    assert "fashion/gedi_paper --linear-config fashion/gedi " in letter.command


def test_a_cell_is_done_when_all_its_seeds_are(tmp_path):
    cell = Cell("moons", "gedi", (0, 1), tmp_path, ())
    states = [cell.state]
    for statuses in (
        ["finished"],
        ["finished", "interrupted"],
        ["finished", "failed"],
        ["finished", "finished"],
    ):
        for seed, status in enumerate(statuses):
            path = cell.results_of(seed)
            path.parent.mkdir(exist_ok=True)
            path.write_text(json.dumps({"status": status}))
        states.append(cell.state)
    assert states == ["to do", "to do", "to do", "failed", "done"]


def test_configs_of_ones_own_are_given_by_path(scripts, tmp_path):
    shutil.copytree(scripts, tmp_path / "own")
    (cell,) = cells_of(SUITES["digits"], ["gedi_fast"], [0], tmp_path, Path("own"))
    assert "own/pretrain/digits/gedi_fast.yaml --linear-config own/linear" in cell.command
    shutil.rmtree(tmp_path / "own" / "linear" / "digits")  # the paper's probe, then
    (cell,) = cells_of(SUITES["digits"], ["gedi_fast"], [0], tmp_path, Path("own"))
    assert "--linear-config" not in cell.command
    with pytest.raises(ConfigError, match="--scripts=nowhere has no pretrain/toy/jem.yaml"):
        cells_of(SUITES["toy"], [], [0], tmp_path, Path("nowhere"))


@pytest.mark.parametrize("suite", SUITES.values(), ids=SUITES)
def test_every_suites_configs_are_shipped_and_its_commands_parse(suite, tmp_path):
    given = [f"{key}=images" for key in suite.required]
    cells = cells_of(suite, [], [0, 1], tmp_path, None, given)
    assert len({cell.folder for cell in cells}) == len(cells)
    for cell in cells:
        command, *arguments = cell.arguments
        parsed = parser_of(command).parse_intermixed_args(arguments)
        assert parsed.config == cell.config
        assert find_config(cell.config)
        if not suite.stacked:
            assert parsed.linear_config in list_configs("linear")
        assert cell.weights is None or f"inv={cell.weights[0]} " in cell.method


def test_a_changed_config_makes_another_cell(scripts, tmp_path):
    """Of the methods that read it, directly or not, and of no other; words do not count."""
    copy = tmp_path / "scripts"
    shutil.copytree(scripts, copy)

    def change(path, old, new):
        yaml = copy / path
        assert old in yaml.read_text()
        yaml.write_text(yaml.read_text().replace(old, new))

    def changed():
        nonlocal before
        methods = ["gedi", "gedi_fast", "swav"]
        cells = cells_of(SUITES["digits"], methods, [0], tmp_path / "out", copy)
        now = {cell.method: cell.identity for cell in cells}
        different = {method for method in now if now[method] != before.get(method)}
        before = now
        return different

    before = {}
    assert changed() == {"gedi", "gedi_fast", "swav"}
    assert changed() == set()
    change("pretrain/digits/gedi.yaml", "inv: 100", "inv: 99")
    assert changed() == {"gedi", "gedi_fast"}  # which derives from it
    change("pretrain/digits/gedi_fast.yaml", "num_steps: 1", "num_steps: 2")
    assert changed() == {"gedi_fast"}
    change("pretrain/digits/swav.yaml", "method:", "# a remark\nmethod:")
    assert changed() == set()
    change("linear/digits/swav.yaml", "name:", "max_epochs: 3\nname:")
    assert changed() == {"swav"}
    change("shared/run.yaml", "seed: 5", "seed: 6")
    assert changed() == {"gedi", "gedi_fast", "swav"}
