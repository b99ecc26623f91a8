"""Whatever is wrong with the input: status 2, a short message that names it, nothing changed."""

import re
import shlex
import sys

import pytest

from solo_gedi import hosts

# An override, or several, of the config of GEDI on digits, and what the message must say.
SETTINGS = {
    # keys and values of the method
    "+method_kwargs.wieghts=3": r"method_kwargs\.wieghts: unknown key.*weights",
    "+method_kwargs.sgld.steps=3": r"method_kwargs\.sgld\.steps: unknown key.*num_steps",
    "method_kwargs.temperature=warm": r"method_kwargs\.temperature.*warm",
    "method_kwargs.temperature=nan": r"temperature must be above 0, got nan",
    "method_kwargs.temperature=0": r"temperature must be above 0, got 0",
    "method_kwargs=3": r"method_kwargs must be a section.*got 3",
    "method_kwargs.weights=3": r"method_kwargs: .*Weights.*3",
    "method_kwargs.weights.inv=-1": r"weights\.inv must be at least 0, got -1",
    "method_kwargs.weights.inv=nan": r"weights\.inv must be at least 0, got nan",
    "method_kwargs.weights.gen=inf": r"weights\.gen must be finite, got inf",
    "method_kwargs.weights={gen: 0, inv: 0, prior: 0}": r"weights must be such that one.*positive",
    "method_kwargs.num_clusters=1": r"num_clusters must be at least 2, got 1",
    "method_kwargs.sgld.step_size=0": r"step_size must be above 0, got 0",
    "method_kwargs.sgld.step_size=inf": r"sgld\.step_size must be finite, got inf",
    "method_kwargs.sgld.noise_std=-0.1": r"noise_std must be at least 0, got -0\.1",
    "method_kwargs.sgld.num_steps=0": r"num_steps must be at least 1, got 0",
    "method_kwargs.sgld.num_steps=1.5": r"sgld\.num_steps.*1\.5",
    "method_kwargs.sgld.reinit_prob=1.5": r"reinit_prob must be in \[0, 1\], got 1\.5",
    "method_kwargs.sgld.buffer_size=10": r"buffer_size must be at least optimizer\.batch_size=",
    "+method_kwargs.sgld.precision=fp8": r"sgld\.precision must be auto, fp32 or bf16, got fp8",
    "+divergence=3": r"divergence must be a section.*got 3",
    "+divergence.policy=pray": r"divergence\.policy='pray'; choose from",
    "+divergence.check_every=0": r"divergence\.check_every must be a whole number.*1, got 0",
    "+divergence.sometimes=1": r"divergence\.sometimes=1: .*; divergence has check_every",
    "+divergence.check_evry=1": r"did you mean divergence\.check_every\?",
    # network and views
    "backbone=3": r"backbone must be a section.*got 3",
    "backbone.name=energy_resnet9": r"backbone\.name='energy_resnet9' does not exist.*resnet8",
    "~backbone.name": r"backbone\.name is missing",
    "+backbone.kwargs.depth=9": r"backbone\.kwargs.*depth",
    "backbone.kwargs.width=0": r"backbone\.kwargs=.*'width': 0.*does not fit energy_resnet8",
    "backbone.kwargs.width=x": r"backbone\.kwargs=.*'width': 'x'",
    "backbone.kwargs.in_channels=3": r"backbone=.*cannot take inputs of shape \(1, 8, 8\)",
    "augmentations=[]": r"augmentations is missing|list of one entry",
    "augmentations=three_views": r"Could not find 'augmentations/three_views'.*two_views",
    "augmentations=3": r"augmentations=3",
    "~augmentations.0.crop_size": r"augmentations\.0\.crop_size is missing",
    "augmentations.0.crop_size=2": r"crop_size=2",
    "augmentations.0.crop_size=0": r"augmentations\.0\.crop_size must be.*at least 1, got 0",
    "augmentations.0.crop_size=big": r"augmentations\.0\.crop_size must be.*got 'big'",
    "augmentations.0.num_crops=0": r"augmentations\.0\.num_crops must be.*got 0",
    "augmentations.0.num_crops=1": r"augmentations must give 2 view",
    "augmentations.0.rrc=3": r"augmentations\.0\.rrc\.enabled is missing",
    "~augmentations.0.color_jitter": r"augmentations\.0\.color_jitter\.prob is missing",
    "augmentations.0.grayscale.prob=2": r"grayscale\.prob must be.*\[0, 1\], got 2",
    "augmentations.0.color_jitter.hue=3": r"augmentations\.0 makes no pipeline: hue",
    "+augmentations.0.mean=[a]": r"augmentations\.0\.mean must be a list of a number",
    # data
    "data=3": r"data must be a section.*got 3",
    "data.dataset=digit": r"data\.dataset='digit' does not exist",
    "data.train_path=training": r"train, val or test, not 'training'",
    "data.train_path=3": r"data\.train_path must be a text.*got 3",
    "data.num_workers=1000000": r"data\.num_workers must be .*at most 1024, got 1000000",
    "data.num_workers=-1": r"data\.num_workers must be a whole number of at least 0, .*got -1",
    "+data.fraction=2": r"data\.fraction must be above 0 and below 1.*got 2",
    "optimizer.batch_size=0": r"optimizer\.batch_size must be a whole number.*1, got 0",
    "optimizer.batch_size=many": r"optimizer\.batch_size must be a whole number.*got 'many'",
    "optimizer.batch_size=1.5": r"optimizer\.batch_size must be a whole number.*got 1\.5",
    "optimizer.batch_size=2000 ; method_kwargs.sgld.buffer_size=5000": (
        r"batch_size=2000 is more than the 1077 training images"
    ),
    # training
    "method=gedy": r"method='gedy' does not exist.*gedi",
    "optimizer=3": r"optimizer must be a section.*got 3",
    "optimizer.name=adamm": r"optimizer\.name must be one of.*adam, adamw, got 'adamm'",
    "+optimizer.kwargs.lr=1": r"optimizer\.kwargs=\{'lr': 1\} does not fit adam",
    "+optimizer.kwargs={foo: 1}": r"optimizer\.kwargs=.*foo.*does not fit adam",
    "optimizer.lr=-1": r"optimizer\.lr must be a finite number above 0, got -1",
    "optimizer.lr=inf": r"optimizer\.lr must be a finite number above 0, got inf",
    "optimizer.lr=nan": r"optimizer\.lr must be a finite number above 0, got nan",
    "~optimizer.lr": r"optimizer\.lr is missing",
    "optimizer.classifier_lr=abc": r"optimizer\.classifier_lr must be.*got 'abc'",
    "optimizer.weight_decay=-1": r"optimizer\.weight_decay must be.*got -1",
    "scheduler=none": r"scheduler must be a section.*got 'none'",
    "scheduler.name=cosine": r"scheduler\.name must be one of warmup_cosine.*got 'cosine'",
    "scheduler.name=step": r"scheduler\.lr_decay_steps is missing",
    "scheduler.name=step ; +scheduler.lr_decay_steps=[a]": r"lr_decay_steps must be a list of epo",
    "scheduler.name=step ; +scheduler.lr_decay_steps=[]": r"lr_decay_steps must be a list of epo",
    "scheduler.name=step ; +scheduler.lr_decay_steps=3": r"lr_decay_steps must be a list of epochs",
    "+optimizer.kwargs.betas=[0.9]": r"optimizer\.kwargs=\{'betas': \[0\.9\]\} does not fit adam",
    "optimizer.name=lars ; +optimizer.kwargs.rho=1": r"does not fit lars, which has",
    "scheduler.warmup_epochs=many": r"scheduler\.warmup_epochs must be.*got 'many'",
    "+scheduler.interval=hour": r"scheduler\.interval must be one of step, epoch, got 'hour'",
    "max_epochs=0": r"max_epochs must be a whole number of at least 1, got 0",
    "max_epochs=1.5": r"max_epochs must be a whole number.*got 1\.5",
    "seed=-1": r"seed must be a whole number of at least 0.*got -1",
    "accumulate_grad_batches=0": r"accumulate_grad_batches must be.*got 0",
    "knn_eval.k=0": r"knn_eval\.k must be.*got 0",
    "devices=some": r"devices must be a list, a number or \"auto\", got 'some'",
    "devices=0": r"devices must be a list, a number or \"auto\", got 0",
    "devices=[]": r"devices must be a list, a number or \"auto\", got \[\]",
    "precision=half": r"[Pp]recision 'half' is invalid",
    "strategy=magic": r"strategy='magic'",
    "accelerator=quantum": r"accelerator='quantum'",
    "performance=fast": r"performance must be a section.*got 'fast'",
    "+limit_train_batches=0": r"limit_train_batches must be a finite number above 0.*got 0",
    "+limit_train_batches=0.001": r"Lightning refuses a setting: .*0\.001",
    "+max_steps=0": r"max_steps must be a whole number of at least 1, or -1 for all, got 0",
    "+limit_train_batches=-1": r"limit_train_batches must be.*got -1",
    "+gradient_clip_val=x": r"gradient_clip_val.*x",
    # files
    "name=a/b": r"name must be.*without \"/\".*got 'a/b'",
    "checkpoint=3": r"checkpoint must be a section.*got 3",
    "checkpoint.frequency=0": r"checkpoint\.frequency must be.*got 0",
    "checkpoint.dir=null": r"checkpoint\.dir must be a text.*got None",
    "checkpoint.dir=afile": r"checkpoint\.dir: cannot write to afile.*Not a directory",
    "checkpoint.dir=/proc/x": r"checkpoint\.dir: cannot write to /proc/x",
    "auto_resume.max_hours=x": r"auto_resume\.max_hours must be.*got 'x'",
    "wandb=3": r"wandb must be a section.*got 3",
    "wandb.enabled=maybe": r"wandb\.enabled must be true or false, got 'maybe'",
    "resume_from_checkpoint=nowhere": r"checkpoint nowhere does not exist",
    "resume_from_checkpoint=.": r"\. holds no checkpoint",
    "resume_from_checkpoint=afile": r"checkpoint afile cannot be read",
    # what Lightning would stumble over, or refuse while it trains
    "+val_check_interval=0": r"val_check_interval must be a finite number above 0, or null, got 0",
    "+val_check_interval=1000": r"Lightning refuses a setting: `val_check_interval` \(1000\)",
    "+check_val_every_n_epoch=0": r"check_val_every_n_epoch must be a whole number.*1.*got 0",
    "+num_sanity_val_steps=-2": r"num_sanity_val_steps must be a whole number.*-1, got -2",
    "+overfit_batches=-1": r"overfit_batches must be a finite number of at least 0, got -1",
    "+use_distributed_sampler=false": r"use_distributed_sampler=False: .* reads no such key",
    "+max_time=foo": r"Lightning refuses a setting: .*'foo'.* is not a valid duration",
    "+profiler=foo": r"Lightning refuses a setting: .*`profiler`",
    "+gradient_clip_algorithm=foo": r"Lightning refuses a setting: .*`gradient_clip_algorithm` foo",
    "strategy=fsdp": r"Lightning refuses a setting: The strategy `fsdp` requires a GPU",
    "+limit_val_batches=0.0001": r"Lightning refuses a setting: .*limit_val_batches",
    # keys that nothing reads; tests/config/test_keys.py has more
    "+foo=1": r"foo=1: pretrain with method=gedi reads no such key",
    "+max_epoch=3": r"did you mean max_epochs\?",
    "+optimizer.learning_rate=1": r"optimizer\.learning_rate=1: .*optimizer has batch_size",
    "+data.num_classes=3": r"data\.num_classes=3: .* reads no such key",
    "+augmentations.0.color_jitter.satration=1": r"augmentations\.0\.color_jitter\.saturation\?",
    "+data.augment_on_device=off": r"data\.augment_on_device must be true or false, got 'off'",
    "+data.no_labels=true": r"data\.no_labels=true is for folders of images",
    "++augmentations.0.std=[0]": r"augmentations\.0\.std must have a number above 0",
    "+checkpoint.every_minutes=-1": r"checkpoint\.every_minutes must be.*got -1|Could not append",
    # the overrides themselves
    "foo": r"foo",
    "foo=3": r"Could not override 'foo'.*\+foo=3",
    "nogroup@x=3": r"config group 'nogroup' does not exist",
    "optimizer.lr=[1": r"optimizer\.lr=\[1",
    "optimizer.lr=${nowhere}": r"'nowhere' not found",
    "--nonsense": r"unrecognized arguments: --nonsense",
}


@pytest.mark.parametrize("overrides", SETTINGS)
def test_a_wrong_setting_is_named_before_training(refused, named, tmp_path, overrides):
    (tmp_path / "afile").write_text("x")
    message = refused("pretrain", *named(), *overrides.split(" ; "))
    assert re.search(SETTINGS[overrides], message), message
    assert len(message.splitlines()) == 1


@pytest.mark.skipif(hosts.GENERATION == "github", reason="the GitHub version has these")
def test_what_only_the_github_version_has_is_said_so(refused, named):
    wrong = [*named(), "augmentations.0.equalization.prob=0.5"]
    assert "needs solo-learn's GitHub version" in refused("pretrain", *wrong)


def test_other_methods_take_no_settings_of_gedi(refused, named):
    wrong = [*named("jem"), "+method_kwargs.weights.inv=1"]
    assert re.search(r"weights of jem.*method: gedi", refused("pretrain", *wrong))
    wrong = [*named("swav"), "method_kwargs.num_prototypes=x"]
    assert re.search(r"num_prototypes|method=swav refuses", refused("pretrain", *wrong))


# {c} names the config of GEDI on digits, {t} that of the toy study, {s} the scripts.
LINES = {
    "fit": r"no command 'fit'; choose from pretrain",
    "pretrain": r"no config is named.*digits/gedi",
    "pretrain max_epochs=1": r"no config is named.*digits/gedi",
    "pretrain digits/gedy": r"digits/gedy.*digits/gedi",
    "pretrain nowhere/gedi": r"nowhere/gedi",
    "pretrain digits": r"digits.*digits/gedi",
    "pretrain --config-path .": r"--config-path and --config-name go together",
    "pretrain --cfg all": r"--cfg.*'all'",
    "predict": r"required: model, images",
    "predict . a.png": r"holds no checkpoint",
    "predict nowhere a.png": r"checkpoint nowhere does not exist",
    "predict nowhere a.png --out afile": r"out=afile must end in \.csv or \.parquet",
    "predict nowhere a.png --out taken.csv": r"out=taken\.csv exists.*--overwrite",
    "predict nowhere a.png --batch-size few": r"--batch-size.*'few'",
    "configs all": r"unrecognized arguments: all",
    "configs --copy afile": r"afile",
    "pretrain --config-path nowhere --config-name x": r"--config-path=nowhere is not a folder",
    "pretrain --config-path . --config-name absent": r"absent",
    "pretrain --config-path . --config-name broken": r"broken",
    "linear": r"no config is named",
    "linear digits/gedi": r"pretrained_feature_extractor",
    "linear digits/gedi pretrained_feature_extractor=gone": r"checkpoint gone does not exist",
    "linear digits/gedi pretrained_feature_extractor=afile": r"checkpoint afile cannot be read",
    "linear digits/gedi pretrained_feature_extractor=gone +foo=1": r"foo=1: linear reads no such",
    "linear digits/gedi pretrained_feature_extractor=gone +knn_eval.k=1": r"knn_eval\.k=1: linear",
    "linear digits/gedi pretrained_feature_extractor=gone +mixup=1": r"mixup.*main_linear",
    "linear digits/gedi pretrained_feature_extractor=gone +data.fraction=0": r"data\.fraction must",
    "linear digits/gedi pretrained_feature_extractor=gone ~data.val_path": r"val_path is missing",
    "linear digits/gedy": r"digits/gedy.*digits/gedi",
    "linear --config-path {s}/linear/digits --config-name gedi": r"pretrained_feature_extractor",
    "evaluate": r"required: model",
    "evaluate nowhere": r"checkpoint nowhere does not exist",
    "evaluate .": r"holds no checkpoint",
    "evaluate . --fid-features .": r"holds no checkpoint",
    "evaluate . --tasks cooking": r"--tasks has 'cooking'; choose from clustering",
    "evaluate . --tasks ,": r"--tasks names none",
    "evaluate . --ood imaginary": r"--ood has 'imaginary'",
    "evaluate . --ood custom:nowhere": r"--ood has custom:nowhere",
    "evaluate . --inception-weights gone.pth": r"--inception-weights=gone\.pth does not exist",
    "evaluate . --linear-config gone.yaml": r"--linear-config=gone\.yaml does not exist",
    "evaluate . --fid-features gone": r"--fid-features=gone does not exist",
    "evaluate . --num-samples 0": r"--num-samples must be at least 2, got 0",
    "evaluate . --steps few": r"--steps.*'few'",
    "evaluate . --start hot": r"--start.*'hot'",
    "evaluate . foo": r"'foo' is not an override",
    "evaluate . foo=1": r"foo=1: evaluate reads no such key",
    "evaluate . optimizer.lr=1": r"optimizer\.lr=1: evaluate reads no such key",
    "evaluate . probe.optimizer.rate=1": r"probe\.optimizer\.rate=1: evaluate reads no such key",
    "evaluate . data.val_path=[1": r"data\.val_path=\[1",
    "evaluate . =3": r"'=3' is not an override",
    "sample": r"required: .*--out",
    "sample . --out out": r"holds no checkpoint",
    "sample nowhere --out out": r"checkpoint nowhere does not exist|nowhere",
    "sample nowhere --out out --num few": r"--num.*'few'",
    "sample nowhere --out out --num 0": r"num",
    "sample nowhere --out out --steps -1": r"steps",
    "sample nowhere --out out --seed x": r"--seed.*'x'",
    "sample nowhere --out afile": r"afile",
    "sample gedi-digits --out out --start gone.png": r"gone\.png",
    "sample gedi-digits --out out --start afile": r"afile",
    "export": r"required: .*--out",
    "export . --out out": r"holds no checkpoint",
    "export nowhere --out out": r"nowhere",
    "export afile --out out": r"afile",
    "export gedi-digits --out afile": r"afile",
    "export gedi-digits --out out --part head": r"--part.*'head'",
    "export gedi-digits --out out --format caffe": r"--format.*'caffe'",
    "export gedi-digits --out out --precision fp8": r"--precision.*'fp8'",
    "export gedi-digits --out out --part backbone --format timm": r"timm",
    "explore": r"required: model",
    "explore .": r"holds no checkpoint",
    "explore nowhere": r"nowhere",
    "explore gedi-digits gone": r"gone",
    "explore gedi-digits afile": r"no image that can be used",
    "explore gedi-digits . --out page.txt": r"page\.txt",
    "explore gedi-digits . --max-images 0": r"max.images",
    "explore gedi-digits . --max-images few": r"--max-images.*'few'",
    "predict gedi-digits gone.png": r"gone\.png",
    "predict gedi-digits '*.gone'": r"\*\.gone",
    "predict gedi-digits empty": r"empty",
    "predict gedi-digits broken.png --batch-size 0": r"batch.size",
    "predict gedi-digits broken.png --features out.txt": r"out\.txt must end in \.npz",
    "predict gedi-digit a.png": r"gedi-digit",
    "toy": r"required: folder",
    "toy out {t} +foo=1": r"foo=1: pretrain with method=gedi reads no such key",
    "toy out toy/gedy": r"toy/gedy.*toy/gedi",
    "toy out {t} --tasks cooking": r"--tasks has 'cooking'",
    "toy out {t} --seeds x": r"--seeds.*a number or a list.*'x'",
    "toy out {t} --seeds ,": r"--seeds.*a number or a list.*','",
    "toy out {t} optimizer.lr=-1": r"optimizer\.lr must be.*got -1",
    "toy out {t} optimizer.name=sgd": r"optimizer\.name=adam",
    "toy out {t} limit_train_batches=0.5": r"limit_train_batches must be a whole number, got 0\.5",
    "toy out {t} dataset=squares": r"Could not find 'dataset/squares'.*moons",
    "toy out {c}": r"limit_train_batches is missing",
    "toy out {c} +limit_train_batches=1": r"data\.dataset=digits is not a toy set",
    "toy afile {t}": r"folder: cannot write to afile",
    "cell": r"required: folder",
    "cell out {c} foo=3": r"Could not override 'foo'",
    "cell out {c} max_epochs=x": r"max_epochs must be.*got 'x'",
    "cell out {c} --tasks cooking": r"--tasks has 'cooking'",
    "cell out {c} --linear-config gone.yaml": r"--linear-config=gone\.yaml does not exist",
    "cell out {c} +foo=1": r"foo=1: pretrain with method=gedi reads no such key",
    "cell out {c} probe.foo=1": r"probe\.foo=1: evaluate reads no such key",
    "cell out {c} data.train_path=x": r"data\.train_path and data\.val_path of digits name a split",
    "cell out digits/gedy": r"digits/gedy.*digits/gedi",
    "cell afile {c}": r"folder: cannot write to afile",
    "benchmark": r"required: suite",
    "benchmark imagenet": r"invalid choice: 'imagenet'",
    "benchmark folder": r"needs data\.train_path=FOLDER",
    "benchmark toy --scripts nowhere": r"--scripts=nowhere has no pretrain/toy",
    "benchmark toy --scripts {s} --methods simclr": r"--methods has 'simclr'",
    "benchmark toy --scripts {s} --jobs 0": r"--jobs must be at least 1, got 0",
    "benchmark toy --scripts {s} --seeds 0": r"--seeds must be at least 1",
    "benchmark toy --scripts {s} --seeds few": r"--seeds.*a number or a list.*'few'",
    "benchmark toy --scripts {s} foo": r"foo",
    "benchmark digits --scripts {s} foo=3": r"Could not override 'foo'",
    "benchmark digits --scripts {s} optimizer.lr=-1": r"optimizer\.lr must be.*got -1",
    "benchmark digits --scripts {s} --evaluate '--tasks cooking'": r"--tasks has 'cooking'",
    "benchmark digits --scripts {s} +foo=1": r"foo=1: pretrain with method=\w+ reads no such key",
    "benchmark digits --scripts {s} probe.foo=1": r"probe\.foo=1: evaluate reads no such key",
    "benchmark digits --scripts {s} --evaluate ' --tasks'": r"--tasks",
    "benchmark digits --scripts {s} --evaluate '\"'": r"--evaluate=",
    "benchmark digits --scripts {s} --cluster moon": r"--cluster.*'moon'",
    "benchmark digits --scripts {s} --gpus x": r"--gpus.*'x'",
    "benchmark digits --scripts {s} --rerun some": r"--rerun.*'some'",
    "benchmark digits --scripts {s} --out afile": r"--out: cannot write to afile",
    "demo --epochs 0": r"max_epochs must be.*got 0",
    "demo --epochs few": r"--epochs.*'few'",
    "demo --seed -1": r"seed must be.*got -1",
    "demo --out afile": r"--out: cannot write to afile",
    "demo again": r"unrecognized arguments: again",
}


@pytest.mark.parametrize("line", LINES)
def test_a_wrong_command_line_is_one_message(refused, named, scripts, tmp_path, line):
    (tmp_path / "afile").write_text("x")
    (tmp_path / "taken.csv").write_text("x")
    (tmp_path / "broken.yaml").write_text("a: [")
    (tmp_path / "broken.png").write_text("x")
    (tmp_path / "empty").mkdir()
    paths = {"c": shlex.join(named()), "t": shlex.join(named(suite="toy")), "s": scripts}
    message = refused(*shlex.split(line.format(**paths)))
    assert re.search(LINES[line], message), message


def test_without_solo_learn_the_error_says_how_to_install_it(console):
    hide = "import sys; sys.modules['solo'] = None; sys.argv = ['solo-gedi', 'demo'];"
    done = console(sys.executable, "-c", f"{hide} from solo_gedi.cli import main; sys.exit(main())")
    assert done.returncode == 2
    assert "pip install --no-deps solo-learn==1.0.2" in done.stderr
    assert len(done.stderr.splitlines()) <= 3
