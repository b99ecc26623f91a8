"""What is exported is what was trained, and loads where nothing of ours trained it."""

import json
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace

import numpy as np
import pytest
import torch

import solo_gedi as sg
from solo_gedi.backbones import build_backbone
from solo_gedi.core import EnergyHead
from solo_gedi.errors import CheckpointError, ConfigError, MissingPackageError
from solo_gedi.inference import Model, export, load
from solo_gedi.inference.exported import SHIPPED

SHM = Path("/dev/shm")  # noqa: S108
OLD = Path(__file__).parent / "version_0_1"


def inputs(model, n=3):
    return torch.randn(n, *model.input_shape, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("method", ["gedi", "jem", "swav", "barlow"])
def test_a_model_comes_back_as_it_was(trained, method):
    model = load(trained(method))
    model.events = ["step 5: energy is 1e+07"]
    assert export(model, "out") == Path("out")
    again = load("out")
    for one, other in zip(model(inputs(model)), again(inputs(model)), strict=True):
        torch.testing.assert_close(one, other)
    for name in ("output", "num_clusters", "epochs", "events", "has_energy", "sgld", "reference"):
        assert getattr(again, name) == getattr(model, name), name
    assert again.chains is None
    x = inputs(model)
    torch.testing.assert_close(again.typicality(x), model.typicality(x))
    assert again.transform.transforms[-1].mean == model.transform.transforms[-1].mean


def test_nothing_of_an_earlier_model_is_taken_for_this_ones(trained):
    model = load(trained("gedi"))
    assert load(export(model, "out")).reference is not None
    model.reference = None
    with torch.no_grad():
        next(model.backbone.parameters()).add_(1)
    assert load(export(model, "out", overwrite=True)).reference is None
    sg.evaluate("out", "knn")
    export(model, "out", overwrite=True)
    assert "Not evaluated" in Path("out/README.md").read_text()
    assert not Path("out/report.html").exists()
    export(model, "out", part="backbone", format="state_dict", overwrite=True)
    assert {path.name for path in Path("out").iterdir()} == {"config.json", "model.safetensors"}


def test_files_that_no_export_has_left_stay(trained):
    Path("mine").mkdir()
    for name in ("README.md", "metrics.json"):
        Path("mine", name).write_text("{}")
    export(trained("gedi"), "mine", part="backbone", format="state_dict", overwrite=True)
    assert Path("mine", "README.md").read_text() == Path("mine", "metrics.json").read_text() == "{}"
    model = load(export(trained("gedi"), "out"))
    sg.evaluate(model, "knn")
    export(model, "out", precision="fp16", overwrite=True)  # over itself
    assert "| knn | accuracy |" in Path("out", "README.md").read_text()
    assert Path("out", "metrics.json").exists()


def test_the_folder_of_a_run_is_not_exported_into(trained_copy):
    folder = trained_copy("gedi")
    before = sorted(folder.iterdir())
    for format in ("huggingface", "onnx"):
        with pytest.raises(ConfigError, match="is the folder of a run: give another name"):
            export(folder, folder, format=format, overwrite=True)
    assert sorted(folder.iterdir()) == before


@pytest.mark.skipif(not SHM.is_dir(), reason="there is no second file system here")
def test_a_folder_on_another_disk_takes_it(trained, tmp_path):
    with TemporaryDirectory(dir=SHM) as there:
        (tmp_path / "out").symlink_to(there)
        assert load(export(trained("gedi"), "out")).epochs == 1
        assert {path.name for path in Path(there).iterdir()} == {
            *("README.md", "config.json", "model.safetensors", "reference.json")
        }


def test_a_head_with_batch_norm_comes_back_in_evaluation_mode(untrained):
    model = untrained("energy_resnet8", width=8)
    model.head = EnergyHead(8, 16, 5, temperature=1.0, batch_norm=True)
    with torch.no_grad():  # statistics of its own
        model.head.train()(3 + torch.randn(50, 8))
    model.eval()
    export(model, "out")
    again, x = load("out"), inputs(model)
    torch.testing.assert_close(again(x), model(x))
    torch.testing.assert_close(again(x[:1]).scores, model(x).scores[:1])


def test_points_come_back_too():
    model = load(OLD / "jem-moons")
    model.sgld.step_size = 0.125  # as after a divergence
    export(model, "out")
    again = load("out")
    assert again.sgld.step_size == 0.125
    assert again.space == model.space
    torch.testing.assert_close(again.log_density(inputs(model)), model.log_density(inputs(model)))


def test_half_the_bytes(trained):
    model = load(trained("gedi"))
    for precision in ("fp32", "fp16"):
        export(model, precision, precision=precision)
    large, small = (Path(name, "model.safetensors").stat().st_size for name in ("fp32", "fp16"))
    assert small < 0.6 * large
    half = load("fp16")
    assert next(half.parameters()).dtype == torch.float32
    x = inputs(model, 100)
    torch.testing.assert_close(half(x).scores, model(x).scores, rtol=0.02, atol=0.05)


def test_neither_solo_learn_nor_lightning_nor_hydra_loads_it(trained, image_folder):
    export(trained("swav"), "out")
    image_folder()
    code = """
import sys
for name in ("solo", "lightning", "pytorch_lightning", "hydra", "omegaconf", "wandb", "pickle5"):
    sys.modules[name] = None
import solo_gedi as sg
for name in ("out", *sg.list_models()):
    print(name, len(sg.predict(name, "images")))
sg.sample("gedi-digits", "samples", num=2, steps=2)
sg.export("gedi-digits", "again")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["out", "24", "gedi-digits", "24"]


def test_no_path_of_the_machine_is_exported(trained_copy):
    folder = trained_copy("gedi")
    config = json.loads((folder / "args.json").read_text())
    assert Path(config["checkpoint"]["dir"]).is_absolute()
    config["data"]["train_path"] = "/home/someone/photos"
    (folder / "args.json").write_text(json.dumps(config))
    epochs, checkpoint = load(folder).epochs, load(folder).checkpoint.name
    row = {"metric": "auroc", "split": "/home/someone/photos/val", "value": 0.5, "k": 3}
    rows = [
        {**row, "task": "ood", "against": "custom", "path": "/home/someone/strange"},
        {**row, "task": "fid", "features": "/home/someone/runs/swav"},
        {
            **row,
            "task": "knn",
            "changed": "data.train_path=/home/someone else/x, data.fraction=0.5",
        },
    ]
    metrics = {"format": 2, "checkpoint": checkpoint, "epochs": epochs, "results": rows}
    (folder / "metrics.json").write_text(json.dumps(metrics))
    export(folder, "out")
    card = Path("out/README.md").read_text()
    assert "| ood | auroc | k 3, against strange | val | 0.5 |" in card
    assert "| fid | auroc | k 3, features swav | val | 0.5 |" in card
    assert "| k 3, changed data.train_path=x, data.fraction=0.5 | val | 0.5 |" in card
    said = "".join(Path("out", name).read_text() for name in ("config.json", "README.md"))
    assert "someone" not in said
    assert str(folder.parent) not in said


@pytest.mark.parametrize(
    ("damage", "message"),
    {
        "cut short": r"model\.safetensors cannot be read: it is cut short",
        "no JSON": r"config\.json cannot be read",
        "another library": "is not of a model that solo-gedi exported as a whole",
        "later": "is of a later version",
        "other width": "the config asks for",
    }.items(),
)
def test_what_is_broken_is_named(trained, damage, message):
    folder = export(trained("gedi"), "out")
    weights, config = folder / "model.safetensors", folder / "config.json"
    about = json.loads(config.read_text())
    if damage == "cut short":
        weights.write_bytes(weights.read_bytes()[:-100])
    elif damage == "no JSON":
        config.write_text("{")
    elif damage == "another library":
        about["library_name"] = "timm"
    elif damage == "later":
        about["format"] = 2
    elif damage == "other width":
        about["run"]["backbone"]["kwargs"]["width"] = 16
    if damage != "no JSON":
        config.write_text(json.dumps(about))
    with pytest.raises(CheckpointError, match=message) as caught:
        load("out")
    assert len(str(caught.value).splitlines()) == 1


def test_nothing_is_fetched_or_unpickled_on_loading(untrained):
    export(untrained("vit_tiny", size=32, img_size=32, patch_size=8), "out")
    config = Path("out", "config.json")
    about = json.loads(config.read_text())
    about["run"]["backbone"]["kwargs"] |= {"checkpoint_path": "evil.pth", "pretrained": True}
    config.write_text(json.dumps(about))
    Path("evil.pth").write_bytes(b"no weights")
    assert "checkpoint_path" not in load("out").config["backbone"]["kwargs"]


def weights_of(folder):
    from safetensors.torch import load_file

    return load_file(Path(folder, "model.safetensors"))


def test_a_resnet_is_torchvisions_and_timms(untrained):
    import timm
    import torchvision

    model = untrained("resnet18")
    x = inputs(model)
    expected = model.features(x)
    export(model, "torchvision", part="backbone", format="torchvision")
    about = json.loads(Path("torchvision", "config.json").read_text())
    names = {"torchvision": torchvision, "torch": torch, "WEIGHTS": weights_of("torchvision")}
    exec(about.pop("how_to_load"), names)
    with torch.no_grad():
        torch.testing.assert_close(names["network"].eval()(x), expected, rtol=1e-3, atol=1e-4)
    assert about == {
        **{"backbone": "resnet18", "kwargs": {}, "num_features": 512},
        **{"input_shape": list(model.input_shape), "mean": [0.4] * 3, "std": [0.2] * 3},
        **{"method": "gedi", "dataset": "custom", "epochs": model.epochs},
    }
    export(model, "timm", part="backbone", format="timm")
    network = timm.create_model("resnet18", num_classes=0).eval()
    network.load_state_dict(weights_of("timm"), strict=True)
    with torch.no_grad():
        torch.testing.assert_close(network(x), expected, rtol=1e-3, atol=1e-4)


def test_a_vit_is_timms_and_says_how_to_load_it(untrained):
    import timm

    model = untrained("vit_tiny", size=32, img_size=32, patch_size=8)
    x = inputs(model)
    export(model, "timm", part="backbone", format="timm")
    about = json.loads(Path("timm", "config.json").read_text())
    network = eval(about["how_to_load"].rpartition("into ")[2]).eval()  # as it says
    network.load_state_dict(weights_of("timm"), strict=True)
    again = timm.create_model("local-dir:timm", pretrained=True).eval()
    with torch.no_grad():
        torch.testing.assert_close(network(x), model.features(x), rtol=1e-3, atol=1e-4)
        torch.testing.assert_close(again(x), model.features(x), rtol=1e-3, atol=1e-4)
    assert timm.data.resolve_model_data_config(again)["mean"] == [0.4, 0.4, 0.4]
    with pytest.raises(ConfigError, match="vit_tiny is not a network of that library"):
        export(model, "torchvision", part="backbone", format="torchvision")


def test_another_network_is_refused(untrained):
    for library in ("timm", "torchvision"):
        for model, why in (
            (untrained("resnet18", "cifar10"), "its first layers differ, for cifar10"),
            (
                untrained("energy_resnet8", width=8),
                "energy_resnet8 is not a network of that library",
            ),
        ):
            with pytest.raises(ConfigError, match=why):
                export(model, "out", part="backbone", format=library)
    assert not Path("out").exists()


def test_a_state_dict_is_the_backbones_own(trained):
    model = load(trained("gedi"))
    export(model, "out", part="backbone", format="state_dict")
    about = json.loads(Path("out", "config.json").read_text())
    network = build_backbone(about["backbone"], about["kwargs"]).eval()
    network.load_state_dict(weights_of("out"), strict=True)
    with torch.no_grad():
        torch.testing.assert_close(network(inputs(model)), model.features(inputs(model)))


@pytest.mark.parametrize("part", ["model", "backbone"])
@pytest.mark.parametrize("method", ["gedi", "swav"])
def test_onnx_has_the_numbers_for_any_batch(trained, method, part):
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    model = load(trained(method))
    export(model, "out", part=part, format="onnx")
    session = onnxruntime.InferenceSession("out/model.onnx")
    assert {path.name for path in Path("out").iterdir()} == {"model.onnx", "config.json"}
    about = json.loads(Path("out", "config.json").read_text())
    assert about["input"] == session.get_inputs()[0].name
    assert about["outputs"] == [output.name for output in session.get_outputs()]
    names = ["features", "scores", "log_density"]
    assert about["outputs"] == names[: 1 if part == "backbone" else 3]
    for n in (1, 7):
        x = inputs(model, n)
        found = session.run(None, {"x": x.numpy()})
        expected = [*model(x), model.log_density(x)][: 1 if part == "backbone" else 3]
        for theirs, own in zip(found, expected, strict=True):
            np.testing.assert_allclose(theirs, own, rtol=1e-3, atol=1e-4)


def test_what_cannot_be_exported_is_named(trained, monkeypatch):
    model = load(trained("gedi"))
    for given, message in (
        ({"part": "head"}, "part='head': choose from model, backbone"),
        ({"format": "timm"}, "a model has no format='timm'"),
        ({"part": "backbone"}, "a backbone has no format='huggingface'"),
        ({"precision": "int8"}, "precision='int8'"),
        ({"format": "onnx", "precision": "fp16"}, "onnx is fp32"),
    ):
        with pytest.raises(ConfigError, match=message):
            export(model, "out", **given)
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(MissingPackageError, match=r"solo-gedi\[export\]"):
        export(model, "out", format="onnx")
    assert not Path("out").exists()
    Path("out").mkdir()
    export(model, "out")
    with pytest.raises(ConfigError, match="out=out exists"):
        export(model, "out")
    Path("out", "mine.txt").write_text("mine")
    export(model, "out", overwrite=True)
    assert Path("out", "mine.txt").read_text() == "mine"


def test_the_card_is_made_from_the_run(trained_copy):
    from huggingface_hub import ModelCard

    folder = trained_copy("gedi")
    assert "Not evaluated" in Path(export(folder, "before"), "README.md").read_text()
    value = sg.evaluate(folder, "clustering").value(task="clustering", metric="nmi", source="model")
    card = ModelCard.load(Path(export(folder, "after", precision="fp16"), "README.md"))
    assert card.data.library_name == "solo-gedi"
    assert {"gedi", "digits"} <= set(card.data.tags)
    name = load(folder).config["name"]
    headings = [line for line in card.text.splitlines() if line.startswith("#")]
    assert headings == [f"# {name}", "## Use", "## Data", "## Training", "## Results"]
    weights = sum(parameter.numel() for parameter in load(folder).parameters())
    for line in (
        "gedi on digits: 10 clusters by the cluster head, inputs 1 x 8 x 8, "
        f"{weights:,} weights in fp16.",
        "It is an energy-based model: it clusters images, says how likely each is, detects those "
        "unlike its training data, and draws samples.",
        "An image's shorter side becomes 8 pixels, the middle is cut out, and pixels in [0, 1] are "
        "normalised by mean (0.3) and std (0.35).",
        "`typicality` compares with 1,077 training images, without augmentation.",
        f"{load(folder).epochs} epochs, seed 5, with:",
        "Measured after training, of one run (seed 5), before its weights were rounded to fp16.",
        "| task | metric | how | split | value |",
    ):
        assert f"\n{line}\n" in card.text
    whole = Path(export(folder, "whole"), "README.md").read_text()
    assert "Measured after training, of one run (seed 5).\n" in whole
    (row,) = [line for line in card.text.splitlines() if "| nmi | source model" in line]
    assert row.endswith(f"| test | {value:.4g} |")
    assert '"temperature": 0.1' in card.text
    assert "before its weights were rounded to fp16" in card.text
    assert "sg.Model.from_pretrained('after')" in card.text
    # Numbers of another checkpoint are not this one's.
    metrics = json.loads((folder / "metrics.json").read_text())
    (folder / "metrics.json").write_text(json.dumps({**metrics, "epochs": 7}))
    assert "Not evaluated" in Path(export(folder, "later"), "README.md").read_text()


def test_an_exported_model_is_evaluated_but_for_what_needs_a_checkpoint(trained):
    folder = export(trained("gedi"), "out")
    result = sg.evaluate(folder, "clustering,linear")
    assert "of an exported model" in result.not_done["linear"]
    model = load(folder / "model.safetensors")
    value = result.value(task="clustering", metric="nmi", source="model")
    assert f"| test | {value:.4g} |" in Path(export(model, "again"), "README.md").read_text()


def test_the_hub_takes_and_gives_it(trained, tmp_path, monkeypatch):
    import shutil

    import huggingface_hub

    hub = tmp_path / "hub"

    class Api:
        def __init__(self, token=None):
            assert token == "secret"

        def create_repo(self, repo_id, private, exist_ok):
            assert (repo_id, private, exist_ok) == ("digits", True, True)
            return SimpleNamespace(repo_id="someone/digits")

        def upload_folder(self, repo_id, folder_path, commit_message, delete_patterns):
            assert delete_patterns == ["reference.json"]
            shutil.copytree(folder_path, hub / repo_id)
            return SimpleNamespace(commit_url=f"https://hub/{repo_id}")

    def snapshot_download(repo_id, revision, token, cache_dir, allow_patterns):
        if revision == "nowhere":
            raise huggingface_hub.errors.LocalEntryNotFoundError("not there")
        assert "model.safetensors" in allow_patterns
        return str(hub / repo_id)

    monkeypatch.setattr(huggingface_hub, "HfApi", Api)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    model = load(trained("gedi"))
    address = model.push_to_hub("digits", private=True, token="secret", precision="fp16")
    assert address == "https://hub/someone/digits"
    card = (hub / "someone/digits/README.md").read_text()
    assert "sg.Model.from_pretrained('someone/digits')" in card
    assert " weights in fp16." in card
    again, x = Model.from_pretrained("someone/digits"), inputs(model)
    torch.testing.assert_close(again(x).scores, model(x).scores, rtol=0.02, atol=0.05)
    assert again.folder is None  # nothing is written into the Hub's cache
    monkeypatch.setenv("HOME", str(tmp_path))
    assert Model.from_pretrained("~/hub/someone/digits").folder is not None
    with pytest.raises(CheckpointError, match="the Hugging Face Hub does not give it: not there"):
        Model.from_pretrained("someone/digits", revision="nowhere")
    folder = model.save_pretrained("mine")
    assert Model.from_pretrained(folder).epochs == model.epochs
    with pytest.raises(ConfigError, match="mine exists"):
        model.save_pretrained("mine")
    assert model.save_pretrained("mine", overwrite=True) == folder
    assert Model.from_pretrained("gedi-digits").epochs == 60
    with pytest.raises(CheckpointError, match="gedi-digit does not exist.*gedi-digits"):
        Model.from_pretrained("gedi-digit")


def test_the_shipped_model_is_small_and_clusters():
    assert sg.list_models() == ["gedi-digits"]
    for name in sg.list_models():
        assert sum(path.stat().st_size for path in (SHIPPED / name).iterdir()) < 300_000
    model = sg.load("gedi-digits")
    assert model.folder is None  # nothing is written where the package is
    result = sg.evaluate(model, "clustering", write=False)
    (row,) = [
        line
        for line in (SHIPPED / "gedi-digits" / "README.md").read_text().splitlines()
        if "| nmi | source model" in line
    ]
    stated = float(row.rpartition("| test |")[2].strip(" |"))
    measured = result.value(task="clustering", metric="nmi", source="model")
    assert measured == pytest.approx(stated, abs=0.01)
    with pytest.raises(ConfigError, match="write=False"):
        sg.evaluate("gedi-digits", "clustering")


def test_a_folder_of_the_same_name_comes_first(trained):
    export(trained("swav"), "gedi-digits")
    assert load("gedi-digits").config["method"] == "swav"


def test_weights_beyond_fp16_are_refused(trained, tmp_path):
    model = load(trained("gedi"))
    model.head.layers[0].bias.data[0] = 7e4
    with pytest.raises(ConfigError, match="fp16 ends at 65504, and projector.layers.0.bias has 7"):
        export(model, tmp_path / "out", precision="fp16")
    assert not any((tmp_path / "out").glob("*"))
