"""`solo-gedi cell`: one cell of a benchmark, pretrain and evaluate what is not done yet."""

import time
from pathlib import Path

from solo_gedi.config import compose as config
from solo_gedi.core import processes
from solo_gedi.evaluation import evaluate
from solo_gedi.files import check_folder, write_json
from solo_gedi.training import checkpoints
from solo_gedi.training.pretrain import pretrain


def main(arguments: list[str]) -> None:
    """Run the command."""
    parser = config.Parser("solo-gedi cell", description=__doc__)
    parser.add_argument("folder", type=Path, help="where the cell keeps its files")
    config.add_arguments(parser)
    evaluate.add_options(parser)
    given = parser.parse_intermixed_args(arguments)
    overrides, probe = evaluate.split_overrides(given.overrides)
    given.overrides = probe
    evaluate.check_options(given)
    check_folder(given.folder, "folder")

    start = time.perf_counter()
    cfg = config.load(
        Path(given.config_path),
        given.config_name,
        [*overrides, f"checkpoint.dir={given.folder}", "enable_progress_bar=false"],
    )
    config.prepare(cfg, required=config.PRETRAIN)
    run = _finished(given.folder / cfg.method, cfg.max_epochs)
    if run is None:
        run = pretrain(cfg)[1].folder
        if not processes.leave():
            return  # the first of the processes evaluates, alone
    pretrained = time.perf_counter()
    metrics = evaluate.evaluate(run, given)
    metrics["seconds"] = {
        "pretrain": round(pretrained - start, 1),
        "evaluate": round(time.perf_counter() - pretrained, 1),
    }
    metrics["figures"] = [str(run.relative_to(given.folder) / name) for name in metrics["figures"]]
    write_json(given.folder / "metrics.json", metrics)


def _finished(parent: Path, epochs: int) -> Path | None:
    """A run below `parent` that was trained to its end; one that was not is resumed."""
    for folder in sorted(parent.glob("*/")):
        last = checkpoints.last(folder)
        if last is not None and checkpoints.epoch_of(last) + 1 == epochs:
            return folder
    return None
