"""One cell of a benchmark: pretrain and evaluate what is not done yet."""

import json
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from time import perf_counter
from typing import Any

from omegaconf import OmegaConf

from solo_gedi.core import checkpoints, processes
from solo_gedi.errors import GEDIError, Interrupted
from solo_gedi.files import check_folder, given_path, write_json

ASKED = "cell.json"  # in a cell's folder: the config that its runs there were given


def cell(
    folder: str | Path, config: str | Path, *, overrides: Sequence[str] = (), **options: Any
) -> dict[str, Any] | None:
    """Pretrain a method, unless that is done, and evaluate it.

    Args:
        folder: where the cell keeps its files.
        config: a shipped one's name, as "digits/gedi", or a path.
        overrides: `key=value` of the config, `probe.key=value` of the probe's.
        options: of the evaluation, see `solo_gedi.report.evaluate`.

    Returns:
        What `metrics.json` in the folder holds; `seconds` of the training only where this call has
        trained from the start to the end. None in all processes but the first, which
        evaluates alone.

    Raises:
        GEDIError: before training starts, if an argument, the config or the data cannot work; and
            whatever training and evaluation raise.
        Interrupted: after a signal; the same call goes on from there.

    Example:
        cell("runs/try", "digits/gedi", overrides=["max_epochs=5"], tasks="clustering,knn")
    """
    from solo_gedi.config import load_config
    from solo_gedi.evaluation.options import Options, split_overrides
    from solo_gedi.report import evaluate
    from solo_gedi.training import pretrain

    folder = given_path(folder)
    own, of_probe = split_overrides(overrides)
    Options(**options, overrides=of_probe).check()
    check_folder(folder, "folder")
    start = perf_counter()
    cfg = load_config(config, [*own, f'checkpoint.dir="{folder}"'])
    run, whole = _finished(folder, cfg), False
    if run is None:
        with _noted(folder, cfg):
            trained = pretrain(cfg)
        if trained.interrupted is not None:
            raise Interrupted(trained.interrupted)
        if not trained.finished:
            why = f"max_time={cfg.get('max_time')} is up: the same again goes on from there"
            raise Interrupted(signal.SIGXCPU, why)
        run = trained.folder
        whole = not trained.resumed
        if not processes.leave():
            return None
    if not processes.is_first():  # as a launcher has started them, to a run that is finished
        return None
    between = perf_counter()
    metrics = evaluate(run, **options, overrides=of_probe).metrics
    metrics = {
        **metrics,
        "figures": [str(run.relative_to(folder) / name) for name in metrics["figures"]],
        "seconds": {
            **({"pretrain": round(between - start, 1)} if whole else {}),
            "evaluate": round(perf_counter() - between, 1),
        },
    }
    write_json(folder / "metrics.json", metrics)
    return metrics


@contextmanager
def _noted(folder: Path, cfg: Any) -> Iterator[None]:
    """Keeps the config in a cell's folder, unless the training is refused."""
    if not processes.is_first():
        yield
        return
    asked = folder / ASKED
    before = asked.read_bytes() if asked.is_file() else None
    write_json(asked, OmegaConf.to_container(cfg))
    try:
        yield
    except GEDIError:
        if before is not None:
            asked.write_bytes(before)
        elif not any(folder.glob("*/*/*.ckpt")):
            asked.unlink()
            with suppress(OSError):  # there is more in it
                folder.rmdir()
        raise


def _finished(folder: Path, cfg: Any) -> Path | None:
    """The last run here of the same config that was trained to its end, if there is one."""
    from solo_gedi.training.resume import is_finished, others

    asked = folder / ASKED
    if not asked.is_file() or others(json.loads(asked.read_text()), cfg):
        return None
    for run in sorted((folder / str(cfg.get("method"))).glob("*/"), reverse=True):
        last = checkpoints.last(run)
        if last is not None and is_finished(last, cfg):
            return run
    return None
