"""What evaluating needs to be imported, and what importing changes."""

import subprocess
import sys

CODE = """
import sys
for name in ("solo", "lightning", "hydra", "timm"):
    sys.modules[name] = None
import torch
import matplotlib
matplotlib.use("svg")
import solo_gedi.evaluation
import solo_gedi.evaluation.options
import solo_gedi.evaluation.rows
import solo_gedi.evaluation.tasks
import solo_gedi.report
from solo_gedi.evaluation.clustering import clustering_metrics
from solo_gedi.evaluation.generation import SampleFeatures, frechet_distance
from solo_gedi.evaluation.pictures import PointChains, mesh
from solo_gedi.errors import MissingPackageError

assert "matplotlib.figure" not in sys.modules, "drawing alone needs it"
from solo_gedi.report import plots
square = mesh(1.0, 50)
about = {"task": "samples", "name": "it", "title": "", "start": "fresh"}
chains = {0: torch.zeros(5, 2)}
log_p = -square.norm(dim=-1)
picture = PointChains(**about, chains=chains, log_density=log_p, box=1.0)
plots.draw(picture).savefig("it.png")
assert matplotlib.rcParams["backend"] == "svg"
assert "matplotlib.pyplot" not in sys.modules

labels = torch.arange(4).repeat(5)
assert clustering_metrics(labels, 3 - labels)["nmi"] > 0.999
assert solo_gedi.evaluation.auroc(labels + 9, labels) == 1
x = torch.randn(20, 3)
assert abs(frechet_distance(SampleFeatures(torch.nn.Identity(), lambda x: x, 3), [x], [x])) < 1e-3
solo_gedi.evaluation.Options(tasks="ood", ood="svhn").check()
try:
    solo_gedi.evaluation.knn_accuracy(x, labels, x, labels)
except MissingPackageError as error:
    assert "pip install --no-deps solo-learn==1.0.2" in str(error)
else:
    raise AssertionError("kNN is solo-learn's")
"""


def test_metrics_need_no_solo_learn_and_drawing_leaves_pyplot_and_the_backend_alone():
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
