import re

import pytest

from solo_gedi.cli import evaluate as command
from solo_gedi.errors import CheckpointError, ConfigError
from solo_gedi.evaluation.options import OOD, TASKS, Options
from solo_gedi.evaluation.tasks import TASKS as MEASURES


def test_tasks_are_those_that_are_there():
    assert set(TASKS) == set(MEASURES)
    assert command.TASKS == TASKS


def test_lists_may_be_texts_or_sequences():
    assert Options("knn,ood", ood="uniform,").tasks == ("knn", "ood")
    assert Options(["knn"], ood=()).ood == ()
    assert Options() == Options(",".join(TASKS), ood=list(OOD))


@pytest.mark.parametrize("config", ["digits/gedi", "mine.yaml", None])
def test_a_probes_config_is_a_name_or_a_file(config, tmp_path):
    (tmp_path / "mine.yaml").write_text("max_epochs: 1")
    Options(linear_config=config).check()


WRONG = [
    ({"tasks": "clustering,cooking"}, r"--tasks has 'cooking'; choose from clustering,"),
    ({"tasks": ()}, "--tasks names none"),
    ({"ood": "imaginary"}, "--ood has 'imaginary'"),
    ({"ood": ["custom:nowhere"]}, "--ood has custom:nowhere.*folder"),
    ({"ood": "custom"}, "--ood has custom.*folder"),
    ({"num_samples": 1}, "--num-samples must be at least 2, got 1"),
    ({"steps": -1}, "--steps must be at least 0, got -1"),
    ({"start": "hot"}, "--start must be one of fresh,buffer, got 'hot'"),
    ({"inception_weights": "gone.pth"}, "--inception-weights=gone.pth does not exist"),
    ({"linear_config": "gone.yaml"}, "--linear-config=gone.yaml does not exist"),
    ({"fid_features": "gone"}, "--fid-features=gone does not exist"),
    ({"fid_features": "."}, "holds no checkpoint"),
    ({"overrides": ["foo"]}, "'foo' is not an override"),
]


@pytest.mark.parametrize(("options", "message"), WRONG)
def test_what_cannot_work_is_named(options, message):
    with pytest.raises((ConfigError, CheckpointError)) as refused:
        Options(**options).check()
    assert re.search(message, str(refused.value))
