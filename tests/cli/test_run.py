"""`solo-gedi run`: programs of solo-learn's as they are."""

import pytest

from solo_gedi import hosts

github = pytest.mark.skipif(
    hosts.GENERATION != "github", reason="the programs of 1.0.2 do not run on today's Lightning"
)
PROGRAM = """
import sys
from neighbour import word
from solo.methods import METHODS
from solo.methods.base import BaseMethod

known = {"gedi", "jem"} & set(METHODS), {"energy_resnet8"} & set(BaseMethod._BACKBONES)
print(__name__, word, *map(sorted, known))
print(sys.argv)
raise SystemExit(7)
"""


def test_no_such_program(refused, tmp_path):
    assert refused("run", "nowhere.py").startswith("there is no program nowhere.py (from ")
    assert refused("run", tmp_path).startswith("there is no program")
    assert "required: program" in refused("run")


@pytest.mark.skipif(hosts.GENERATION == "github", reason="its programs run")
def test_the_programs_of_the_old_generation_are_refused(refused, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "main.py").write_text("print('hello')")
    assert "1.0.2 do not run on today's Lightning" in refused("run", "main.py")


@github
def test_a_program_runs_as_python_runs_it(console, tmp_path):
    folder = tmp_path / "a checkout"
    folder.mkdir()
    (folder / "main.py").write_text(PROGRAM)
    (folder / "neighbour.py").write_text("word = 'found'")
    own = ["--help", "--debug", "--k", "1", "--", "key=a b"]
    done = console("solo-gedi", "run", folder / "main.py", *own)
    assert (done.returncode, done.stderr) == (7, "")
    first, second = done.stdout.splitlines()
    assert first == "__main__ found ['gedi', 'jem'] ['energy_resnet8']"
    assert second == str([str(folder / "main.py"), *own])


KNN = hosts.SOLO_FOLDER.parent / "main_knn.py"


WITHOUT_GPU = """
import runpy, sys
import torch

torch.Tensor.cuda = lambda self, **_: self
runpy.run_path({program!r}, run_name="__main__")
"""


@github
@pytest.mark.skipif(not KNN.exists(), reason="needs a checkout of solo-learn's GitHub version")
def test_its_own_knn_takes_a_gedi(console, tmp_path, image_folder, load_config):
    """But for its demand for a GPU, which the program in between meets with the CPU."""
    from solo_gedi.training import pretrain

    images = image_folder(per_class=4)
    given = [f"data.train_path={images}", "data.val_path=null", "data.num_workers=0"]
    small = ["optimizer.batch_size=4", "backbone.kwargs.width=8"]
    run = pretrain(load_config("gedi_nogen", *given, *small, suite="custom"))
    (tmp_path / "main.py").write_text(WITHOUT_GPU.format(program=str(KNN)))
    paths = ["--train_data_path", images, "--val_data_path", images, "--num_workers", "0"]
    how = ["--k", "1", "--distance_function", "euclidean", "--feature_type", "backbone"]
    checkpoint = ["--pretrained_checkpoint_dir", run.folder, "--dataset", "custom"]
    done = console("solo-gedi", "run", "main.py", *checkpoint, *paths, *how, "--batch_size", "6")
    assert done.returncode == 0, done.stderr[-2000:]
    # Every image is its own neighbour.
    assert "Result: acc@1=100.0" in done.stdout
