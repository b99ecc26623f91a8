"""Curves of what training logged, from the files that it leaves."""

import pytest
from matplotlib.figure import Figure

from solo_gedi.report.curves import curve_panels, read_curves

HEAD = "epoch,step,train_inv_loss_epoch,train_inv_loss_step,val_acc1,val_acc5,triad_cluster_entropy"


@pytest.fixture
def run(tmp_path):
    """A run that was resumed at epoch 2, ten times before."""

    def write(version, *lines):
        path = tmp_path / "logs" / f"version_{version}" / "metrics.csv"
        path.parent.mkdir(parents=True)
        path.write_text("\n".join([HEAD, *lines]) + "\n")

    write(2, "0,9,,3.0,,,", "0,9,2.5,,,,", "0,9,,,40.0,90.0,2.0", "1,19,2.0,,45.0,,", "2,29,9,,,,")
    write(10, "2,29,1.5,,50.0,,", "3,39,nan,,55.0,,1.0")
    return tmp_path


def test_a_resumed_run_goes_on_where_it_was(run):
    assert read_curves(run) == {
        "train_inv_loss_epoch": [(0, 2.5), (1, 2.0), (2, 1.5)],
        "val_acc1": [(0, 40.0), (1, 45.0), (2, 50.0), (3, 55.0)],
        "val_acc5": [(0, 90.0)],
        "triad_cluster_entropy": [(0, 2.0), (3, 1.0)],
    }


def test_there_is_a_panel_for_each_quantity(run):
    panels = curve_panels(run)
    assert {panel.title for panel in panels} == {
        "invariance loss",
        "online accuracy, %",
        "cluster entropy",
    }
    (panel,) = [panel for panel in panels if panel.title == "invariance loss"]
    figure = panel.figure()
    assert isinstance(figure, Figure)
    (line,) = figure.axes[0].get_lines()
    assert line.get_xydata().tolist() == [[0, 2.5], [1, 2.0], [2, 1.5]]


def test_a_run_without_logs_has_none(tmp_path):
    assert curve_panels(tmp_path) == []
