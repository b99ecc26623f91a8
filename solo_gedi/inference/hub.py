"""The Hugging Face Hub: down and up."""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from solo_gedi.core.reference import NAME as REFERENCE
from solo_gedi.errors import CheckpointError, reason
from solo_gedi.files import given_path
from solo_gedi.inference.exported import CONFIG, WEIGHTS, shipped_model

if TYPE_CHECKING:
    from solo_gedi.inference.model import Model


def download(
    name: str | Path, revision: str | None, token: str | None, cache_dir: str | Path | None
) -> str | Path:
    """What `load` takes: a name as it is if it is one, or the folder of a downloaded model.

    Raises:
        CheckpointError: if the Hub does not give it.
    """
    owner, _, model = str(name).partition("/")
    hubs = isinstance(name, str) and owner and model and "/" not in model
    if given_path(name).exists() or not hubs or shipped_model(str(name)):
        return name
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        return snapshot_download(
            str(name),
            revision=revision,
            token=token,
            cache_dir=cache_dir,
            allow_patterns=[CONFIG, WEIGHTS, REFERENCE],
        )
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        raise CheckpointError(
            f"{name} does not exist (from {Path.cwd()}), and the Hugging Face Hub does not give "
            f"it: {reason(error)}"
        ) from error


def upload(
    model: "Model",
    repo_id: str,
    private: bool | None,
    token: str | None,
    commit_message: str,
    precision: str,
) -> str:
    """Upload what `export` writes; the address of the commit."""
    from huggingface_hub import HfApi

    from solo_gedi.inference.card import model_card
    from solo_gedi.inference.export import export

    api = HfApi(token=token)
    with TemporaryDirectory() as scratch:
        folder = export(model, Path(scratch, "model"), precision=precision)
        repo_id = api.create_repo(repo_id, private=private, exist_ok=True).repo_id
        card = model_card(model, repo_id, precision)
        (folder / "README.md").write_text(card, encoding="utf-8")
        done = api.upload_folder(
            repo_id=repo_id,
            folder_path=folder,
            commit_message=commit_message,
            delete_patterns=[REFERENCE],  # of an earlier model, if this one has none
        )
    return str(done.commit_url)
