import sys

import pytest
import torch

from solo_gedi import hosts

pytestmark = pytest.mark.skipif(
    sys.version_info >= (3, 14), reason="programs of Hydra 1.3 do not start on Python 3.14"
)

# A main program that imports solo-learn as its own main_pretrain.py and main_linear.py do.
MAIN = """
import sys
import hydra
{imports}
@hydra.main(version_base="1.2", config_path=None)
def main(cfg):
    print({shown})

main()
"""


def run_main(console, tmp_path, imports, shown, *arguments):
    (tmp_path / "main.py").write_text(MAIN.format(imports=imports, shown=shown))
    done = console(sys.executable, "main.py", *arguments, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_solo_learns_own_programs_know_methods_backbones_and_configs(console, tmp_path, scripts):
    # 1.0.2 cannot be imported without the stand-ins that solo_gedi.hosts gives it.
    stand_ins = "" if hosts.GENERATION == "github" else "import solo_gedi.hosts\n"
    imports = (
        f"{stand_ins}from solo.methods import METHODS\nfrom solo.methods.base import BaseMethod"
    )
    known = (
        "sorted({'gedi', 'jem'} & set(METHODS)), sorted(BaseMethod._BACKBONES)"
        if hosts.GENERATION == "github"
        else "sorted({'gedi', 'jem'} & set(solo_gedi.hosts.METHODS)), "
        "sorted(solo_gedi.hosts.BACKBONES)"
    )
    config = ["--config-path", scripts / "pretrain" / "toy", "--config-name", "gedi_paper.yaml"]
    shown = f"{known}, cfg.name, cfg.auto_resume, cfg.method_kwargs.weights"
    out = run_main(console, tmp_path, imports, shown, *config, "dataset=circles")
    assert "['gedi', 'jem']" in out
    assert "'energy_resnet8'" in out
    assert "gedi_paper-circles" in out
    assert "{'enabled': True, 'max_hours': 36}" in out, "from scripts/shared"
    assert "{'gen': 1, 'inv': 50, 'prior': 10}" in out, "from gedi.yaml"
    assert [path.name for path in tmp_path.iterdir()] == ["main.py"], "Hydra leaves no files"


def test_other_hydra_programs_do_not_pay_for_it(console, tmp_path):
    shown = "[m for m in ('torch', 'solo', 'solo_gedi', 'lightning') if m in sys.modules]"
    assert run_main(console, tmp_path, "", shown, "hydra.run.dir=.").strip() == "[]"


SOLO_LEARN = hosts.SOLO_FOLDER.parent


on_a_checkout = pytest.mark.skipif(
    not (SOLO_LEARN / "main_pretrain.py").exists(),
    reason="needs a checkout of solo-learn's GitHub version: make test SOLO_LEARN=...",
)


@on_a_checkout
def test_a_normalization_that_solo_learn_does_not_read_is_refused(console, image_folder, scripts):
    folder = image_folder(per_class=8, classes="abcdef", size=32)
    config = ["--config-path", scripts / "pretrain" / "custom", "--config-name", "gedi.yaml"]
    given = ["data.dataset=imagenet100", f"data.train_path={folder}", "data.val_path=null"]
    given += ["data.num_workers=0", "backbone.kwargs.width=8", "optimizer.batch_size=16"]
    given += ["method_kwargs.sgld.buffer_size=64", "max_epochs=1", "checkpoint.dir=models"]
    done = console(sys.executable, SOLO_LEARN / "main_pretrain.py", *config, *given)
    assert done.returncode != 0
    assert "main_pretrain.py normalises imagenet100 by mean=(0.485, 0.456, 0.406)" in done.stderr


@on_a_checkout
def test_unmodified_main_pretrain_and_main_linear_run_gedi(
    console, tmp_path, image_folder, scripts
):
    folder = image_folder(per_class=8, classes="abcdef", size=32)
    common = [
        f"data.train_path={folder}",
        f"data.val_path={folder}",
        "data.num_workers=0",
        "backbone.kwargs.width=8",
        "optimizer.batch_size=16",
        "checkpoint.dir=models",
        "max_epochs=1",
        "enable_progress_bar=false",
    ]
    config = ["--config-path", scripts / "pretrain" / "custom", "--config-name", "gedi.yaml"]
    sgld = ["method_kwargs.sgld.num_steps=1", "method_kwargs.sgld.buffer_size=64"]
    main = SOLO_LEARN / "main_pretrain.py"
    done = console(sys.executable, main, *config, *common, *sgld, "knn_eval.enabled=true")
    assert done.returncode == 0, done.stderr[-2000:]
    # Its validation images are 224 pixels wide.
    assert done.stderr.count("`solo-gedi pretrain` with the same config validates at 32.") == 1
    (checkpoint,) = tmp_path.glob("models/gedi/*/*.ckpt")
    state = torch.load(checkpoint, weights_only=True)
    assert state["replay_buffers"][0]["chains"].shape == (64, 3, 32, 32)

    config = ["--config-path", scripts / "linear" / "custom", "--config-name", "gedi.yaml"]
    pretrained = f'pretrained_feature_extractor="{checkpoint}"'
    main = SOLO_LEARN / "main_linear.py"
    done = console(sys.executable, main, *config, *common, pretrained, "check_val_every_n_epoch=1")
    assert done.returncode == 0, done.stderr[-2000:]
    (probe,) = tmp_path.glob("models/linear/*/*.ckpt")
    probed = torch.load(probe, weights_only=False)["state_dict"]
    backbone = {k: v for k, v in state["state_dict"].items() if k.startswith("backbone.")}
    assert backbone
    assert all(torch.equal(probed[k], v) for k, v in backbone.items())
