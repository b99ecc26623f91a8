"""What 1.0.2's adapter does anew, against independent references."""

import math
import sys

import pytest
import torch
from torch import nn

from solo_gedi import hosts

if hosts.GENERATION == "github":
    pytest.skip("1.0.2's adapter is not in use here", allow_module_level=True)


from solo_gedi.errors import ConfigError
from solo_gedi.hosts.pypi import optim


def test_stand_ins_are_gone_after_the_import():
    assert "pl_bolts" not in sys.modules
    import lightning.pytorch

    assert sys.modules.get("pytorch_lightning") is not lightning.pytorch
    assert issubclass(hosts.BaseMethod, lightning.pytorch.LightningModule)


def rates(scheduler, steps):
    found = []
    for _ in range(steps):
        found.append([group["lr"] for group in scheduler.optimizer.param_groups])
        scheduler.optimizer.step()
        scheduler.step()
    return found


def test_warmup_cosine_is_linear_then_half_a_cosine():
    groups = [{"params": [nn.Parameter(torch.zeros(1))], "lr": lr} for lr in (1.0, 0.1)]
    schedule = optim.WarmupCosine(
        torch.optim.SGD(groups), warmup=5, total=25, start_lr=0.01, min_lr=0.02
    )
    found = rates(schedule, 26)
    for step, lrs in enumerate(found):
        for lr, base in zip(lrs, (1.0, 0.1), strict=True):
            if step < 5:
                expected = 0.01 + step / 4 * (base - 0.01)
            else:
                expected = 0.02 + (base - 0.02) * 0.5 * (1 + math.cos(math.pi * (step - 5) / 20))
            assert lr == pytest.approx(expected)


def test_static_groups_keep_their_rate():
    groups = [{"params": [nn.Parameter(torch.zeros(1))]} for _ in range(2)]
    schedule = optim.WarmupCosine(torch.optim.SGD(groups, lr=0.5), 0, 10, static_groups=[1])
    found = rates(schedule, 10)
    assert {lr for _, lr in found} == {0.5}
    assert found[-1][0] < 0.05


def test_lars_scales_each_layers_step_and_leaves_vectors_alone():
    torch.manual_seed(0)
    matrix, vector = nn.Parameter(torch.randn(4, 3)), nn.Parameter(torch.randn(4))
    optimizer = optim.build_optimizer(
        "lars",
        [{"params": [matrix, vector]}],
        lr=0.1,
        weight_decay=0.01,
        kwargs={"momentum": 0.0, "eta": 0.02, "clip_lr": False, "exclude_bias_n_norm": True},
    )
    before = matrix.detach().clone(), vector.detach().clone()
    matrix.grad, vector.grad = torch.randn(4, 3), torch.randn(4)
    optimizer.step()
    w, g = before[0], matrix.grad
    ratio = 0.02 * w.norm() / (g.norm() + 0.01 * w.norm())
    torch.testing.assert_close(matrix.detach(), w - 0.1 * ratio * (g + 0.01 * w))
    torch.testing.assert_close(vector.detach(), before[1] - 0.1 * vector.grad)


METHOD_KWARGS = {
    "barlow_twins": {"proj_hidden_dim": 16, "proj_output_dim": 8},
    "nnclr": {
        "proj_hidden_dim": 16,
        "proj_output_dim": 8,
        "pred_hidden_dim": 16,
        "temperature": 0.2,
        "queue_size": 64,
    },
    "nnsiam": {
        "proj_hidden_dim": 16,
        "proj_output_dim": 8,
        "pred_hidden_dim": 16,
        "queue_size": 64,
    },
    "simclr": {"proj_hidden_dim": 16, "proj_output_dim": 8, "temperature": 0.2},
    "simsiam": {"proj_hidden_dim": 16, "proj_output_dim": 8, "pred_hidden_dim": 16},
    "swav": {"proj_hidden_dim": 16, "proj_output_dim": 8, "num_prototypes": 10},
    "vicreg": {"proj_hidden_dim": 16, "proj_output_dim": 8},
}


@pytest.mark.parametrize("method", METHOD_KWARGS)
def test_every_method_offered_trains(load_config, method):
    from solo_gedi.training import pretrain

    cfg = load_config("barlow")
    cfg.method, cfg.method_kwargs = method, METHOD_KWARGS[method]
    run = pretrain(cfg)
    model = run.method
    assert all(p.isfinite().all() for p in model.parameters())
    (checkpoint,) = run.folder.glob("*.ckpt")
    keys = torch.load(checkpoint, weights_only=True)["state_dict"]
    assert any(key.startswith("backbone.") for key in keys)


def test_swav_prototypes_have_unit_norm(load_config):
    from solo_gedi.training import pretrain

    model = pretrain(load_config("swav")).method
    norms = model.prototypes.weight.norm(dim=1)
    torch.testing.assert_close(norms, torch.ones_like(norms))


def test_unknown_and_missing_method_kwargs_are_named(load_config):
    from solo_gedi.training import pretrain

    with pytest.raises(ConfigError, match=r"prototypes=3: .* mean method_kwargs\.num_prototypes"):
        pretrain(load_config("swav", "+method_kwargs.prototypes=3"))


def test_methods_left_to_the_github_version_are_named(load_config):
    from solo_gedi.training import pretrain

    with pytest.raises(ConfigError, match="'byol' does not exist in solo-learn 1.0.2"):
        pretrain(load_config("swav", "method=byol"))
