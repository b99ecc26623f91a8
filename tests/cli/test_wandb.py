import json

from solo_gedi.cli.pretrain import pretrain


def test_wandb_runs_offline_and_no_entity_is_written(load_config, tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_SILENT", "true")
    monkeypatch.setenv("WANDB_DIR", str(tmp_path))
    cfg = load_config("gedi", "wandb.enabled=true", "wandb.offline=true")
    _, run = pretrain(cfg)
    import wandb

    wandb.finish()
    (offline,) = tmp_path.glob("wandb/offline-run-*")
    assert offline.name.endswith(run.folder.name)
    assert list(offline.glob("*.wandb"))
    assert json.loads((run.folder / "args.json").read_text())["wandb"]["entity"] is None
    assert (run.folder / "logs" / "version_0" / "metrics.csv").exists()
