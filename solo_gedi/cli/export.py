"""Write a trained model, or its backbone, in the files of other libraries.

solo-gedi export trained_models/gedi/20260102-030405 --out my-model
solo-gedi export trained_models/gedi/20260102-030405 --part backbone --format timm --out backbone

huggingface: safetensors, JSON and a model card, which load() reads without solo-learn
timm, torchvision: the backbone, with keys that load strictly there
state_dict: the backbone by its own keys
onnx: either part, its numbers compared in onnxruntime
"""

import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Those of `solo_gedi.inference.export`."""
    add = parser.add_argument
    add("model", help="a checkpoint, a run's or an exported folder, or a shipped model's name")
    add("--out", metavar="FOLDER", required=True, help="where the files go")
    add("--part", choices=("model", "backbone"), default="model", help="what to write")
    add(
        "--format",
        choices=("huggingface", "timm", "torchvision", "state_dict", "onnx"),
        default="huggingface",
        help="how",
    )
    add("--precision", choices=("fp32", "fp16"), default="fp32", help="precision of the weights")
    add("--overwrite", action="store_true", help="replace files that exist")


def run(arguments: argparse.Namespace) -> None:
    """Export."""
    from solo_gedi.inference import export

    export(**vars(arguments))
