import sys

import pytest

from solo_gedi import hosts
from solo_gedi.cli.pretrain import pretrain
from solo_gedi.errors import ConfigError

CASES = {
    "+method_kwargs.wieghts=3": r"method_kwargs\.wieghts: unknown key.*weights",
    "+method_kwargs.sgld.steps=3": r"method_kwargs\.sgld\.steps: unknown key.*num_steps",
    "method_kwargs.temperature=warm": r"method_kwargs\.temperature.*warm",
    "method_kwargs.weights.inv=-1": r"weights\.inv must be at least 0, got -1",
    "method_kwargs.weights={gen: 0, inv: 0, prior: 0}": r"weights must be such that one.*positive",
    "method_kwargs.num_clusters=1": r"num_clusters must be at least 2, got 1",
    "method_kwargs.temperature=0": r"temperature must be above 0, got 0",
    "method_kwargs.sgld.step_size=0": r"step_size must be above 0, got 0",
    "method_kwargs.sgld.noise_std=-0.1": r"noise_std must be at least 0, got -0\.1",
    "method_kwargs.sgld.num_steps=0": r"num_steps must be at least 1, got 0",
    "method_kwargs.sgld.reinit_prob=1.5": r"reinit_prob must be in \[0, 1\], got 1\.5",
    "method_kwargs.sgld.buffer_size=10": r"buffer_size must be at least optimizer\.batch_size=",
    "backbone.name=energy_resnet9": r"backbone\.name='energy_resnet9' does not exist.*resnet8",
    "+backbone.kwargs.depth=9": r"backbone\.kwargs.*depth",
    "augmentations.0.crop_size=2": r"crop_size=2",
    "augmentations.0.num_crops=1": r"augmentations must give 2 view",
    "method=gedy": r"method='gedy' does not exist.*gedi",
    "data.dataset=digit": r"data\.dataset='digit' does not exist",
    "data.train_path=training": r"train, val or test, not 'training'",
    "optimizer.batch_size=0": r"optimizer\.batch_size must be a number above 0, got 0",
    "optimizer.batch_size=many": r"optimizer\.batch_size must be a number above 0, got 'many'",
    "optimizer.batch_size=2000": r"batch_size=2000 is more than the 1077 training images",
    "optimizer.lr=-1": r"optimizer\.lr must be a number above 0, got -1",
    "max_epochs=0": r"max_epochs must be a number above 0, got 0",
    "devices=some": r"devices must be a list, a number or \"auto\", got 'some'",
    "~optimizer.lr": r"optimizer\.lr is missing",
    "~backbone.name": r"backbone\.name is missing",
}


@pytest.mark.parametrize("override", CASES)
def test_wrong_setting_is_named_before_training(load_config, tmp_path, override):
    extra = ["method_kwargs.sgld.buffer_size=5000"] if override.endswith("=2000") else []
    with pytest.raises(ConfigError, match=CASES[override]) as caught:
        pretrain(load_config("gedi", override, *extra))
    assert len(str(caught.value).splitlines()) == 1
    assert not (tmp_path / "trained_models").exists(), "nothing may be left behind"


def test_data_path_that_is_not_there(load_config):
    with pytest.raises(ConfigError, match=r"data\.train_path=nowhere is not a folder"):
        pretrain(load_config("gedi", "data.train_path=nowhere", suite="custom"))


def test_folder_without_classes(load_config, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigError, match=r"data\.train_path=empty.*class folder"):
        pretrain(load_config("gedi", "data.train_path=empty", suite="custom"))


def test_jem_takes_no_other_term(load_config):
    with pytest.raises(ConfigError, match=r"weights of jem.*method: gedi"):
        pretrain(load_config("jem", "+method_kwargs.weights.inv=1"))


@pytest.mark.skipif(hosts.GENERATION == "github", reason="the GitHub version has these")
@pytest.mark.parametrize(
    "override",
    [
        "augmentations.0.rrc.enabled=false",
        "augmentations.0.equalization.prob=0.5",
    ],
)
def test_what_only_the_github_version_has_is_said_so(load_config, override):
    with pytest.raises(ConfigError, match="needs solo-learn's GitHub version"):
        pretrain(load_config("gedi", override))


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (["pretrain", "--config-path", "nowhere", "--config-name", "x"], "nowhere is not a folder"),
        (["pretrain", "--config-path", ".", "--config-name", "absent"], "absent"),
        (["pretrain"], "--config-path"),
        (["fit"], "usage: solo-gedi COMMAND"),
    ],
)
def test_command_line_errors_have_status_2_and_no_traceback(console, command, message):
    done = console("solo-gedi", *command)
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_without_solo_learn_the_error_says_how_to_install_it(console):
    hide = "import sys; sys.modules['solo'] = None; sys.argv = ['solo-gedi', 'demo'];"
    done = console(sys.executable, "-c", f"{hide} from solo_gedi.cli import main; main()")
    assert done.returncode == 2
    assert "pip install --no-deps solo-learn==1.0.2" in done.stderr
    assert "Traceback" not in done.stderr


def test_debug_shows_the_traceback(console):
    done = console("solo-gedi", "evaluate", "nowhere", "--debug")
    assert done.returncode == 1
    assert "Traceback" in done.stderr
    assert "ConfigError: checkpoint nowhere does not exist" in done.stderr
