"""Two nodes, which are two launchers on this machine."""

import os
import re
import socket
import subprocess
import sys
from types import SimpleNamespace

import pytest

from solo_gedi.errors import ConfigError, ProcessLostError
from solo_gedi.training import pretrain
from solo_gedi.training.launch import said_once

# Ends a node, its launcher and its process, without a word.
DIES = """
import os, signal, sys
from solo_gedi.cli import main
from solo_gedi.methods import GEDI

step = GEDI.training_step

def dying(self, *batch):
    if (os.environ["RANK"], self.current_epoch) == (os.environ["DIES"], int(os.environ["IN"])):
        os.kill(os.getppid(), signal.SIGKILL)
        os.kill(os.getpid(), signal.SIGKILL)
    return step(self, *batch)

GEDI.training_step = dying
sys.exit(main())
"""

LOST = "solo-gedi pretrain: error: a process on another node has ended, whose output says why"


@pytest.fixture
def start(tmp_path):
    """Starts both nodes by the same command and gives the status and the output of each."""
    (tmp_path / "dies.py").write_text(DIES)
    command = [
        *("pretrain", "digits/gedi_nogen", "checkpoint.dir=out", "accelerator=cpu", "devices=1"),
        *("+num_nodes=2", "strategy=ddp", "backbone.kwargs.width=8", "optimizer.batch_size=32"),
        *("+limit_train_batches=2", "data.val_path=null", "data.num_workers=0"),
        *("max_epochs=5", "checkpoint.frequency=1", "auto_resume.enabled=true"),
    ]

    def run(*program, **environment):
        with socket.socket() as free:
            free.bind(("localhost", 0))
            meet = f"localhost:{free.getsockname()[1]}"
        launcher = [
            *(sys.executable, "-m", "torch.distributed.run", "--nnodes", "2"),
            *("--nproc-per-node", "1", "--rdzv-backend", "c10d", "--rdzv-endpoint", meet),
        ]
        nodes = [
            subprocess.Popen(
                [*launcher, *program, *command],
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                env={**os.environ, **environment},
            )
            for _ in range(2)
        ]
        try:
            said = [node.communicate(timeout=200)[0] for node in nodes]
        finally:
            for node in nodes:
                node.kill()
        ended = [(node.returncode, text) for node, text in zip(nodes, said, strict=True)]
        return sorted(ended, key=lambda end: end[0])  # one that was killed comes first

    return run


def test_a_run_whose_nodes_die_goes_on_when_both_are_started_again(start, tmp_path):
    for dies, epoch in (("1", 2), ("0", 4)):
        killed, other = start("dies.py", DIES=dies, IN=str(epoch))
        assert killed[0] == -9, killed[1]
        assert other[0] == 1, "torchrun's own status where a process fails"
        assert other[1].count(LOST) == 1, other[1]
    ends = start("-m", "solo_gedi")
    said = "".join(text for _, text in ends)
    assert [status for status, _ in ends] == [0, 0], said

    (folder,) = (tmp_path / "out" / "gedi").iterdir()
    (checkpoint,) = folder.glob("*.ckpt")
    assert checkpoint.name.endswith("-ep=4.ckpt")
    assert said.count(f"Resuming from out/gedi/{folder.name}/") == 1
    assert re.search(r"^epoch 5 of 5: ", said, re.MULTILINE)
    assert not re.search(r"^epoch [123] of 5: ", said, re.MULTILINE), "these are done"
    for node in (1, 2):
        assert len(re.findall(rf"^Node {node} of 2 waits for the others at ", said, re.M)) == 1


def test_nodes_without_a_launcher_are_refused_at_once(load_config, tmp_path):
    cfg = load_config("gedi_nogen", "+num_nodes=2", "accelerator=cpu", "devices=1", "strategy=ddp")
    with pytest.raises(ConfigError, match=r"^num_nodes=2 needs a launcher .* torchrun or srun"):
        pretrain(cfg)
    assert not list(tmp_path.glob("trained_models/*/*")), "nothing has begun"


@pytest.mark.parametrize("local_rank", [0, 1])
def test_a_lost_node_is_named_once_on_every_other(local_rank):
    trainer = SimpleNamespace(
        **{"global_rank": 2, "world_size": 4, "num_nodes": 2, "local_rank": local_rank},
        strategy=SimpleNamespace(launcher=None),
    )
    with pytest.raises(ProcessLostError, match="on another node") as caught, said_once(trainer):
        raise RuntimeError("Connection reset by peer")
    assert caught.value.said == (local_rank > 0)
