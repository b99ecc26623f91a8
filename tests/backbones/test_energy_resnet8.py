import math

import pytest
import torch
import torch.nn.functional as F

from solo_gedi.backbones import EnergyResNet8
from solo_gedi.backbones.energy_resnet8 import PooledConv2d
from solo_gedi.core.sgld import constant_weights


def count(model):
    return sum(parameter.numel() for parameter in model.parameters())


def convolution(kernel, inputs, outputs):
    return kernel * kernel * inputs * outputs + outputs


@pytest.mark.parametrize(("width", "millions"), [(128, 1.04), (256, 4.14)])
def test_parameter_count_is_that_of_table_4(width, millions):
    block_1 = convolution(3, 3, width) + convolution(3, width, width) + convolution(1, 3, width)
    blocks_2_to_4 = 3 * 2 * convolution(3, width, width)
    parameters = count(EnergyResNet8(width))
    assert parameters == block_1 + blocks_2_to_4
    assert round(parameters / 1e6, 2) == millions


def reference(weights, x):
    """Table 4, with the shortcuts and the last activation of the public code of [7]."""

    def conv(name, x):
        weight = weights[f"{name}.weight"]
        return F.conv2d(x, weight, weights[f"{name}.bias"], padding=weight.shape[-1] // 2)

    def activate(x):
        return torch.where(x > 0, x, 0.2 * x)

    def halve(x):
        n, c, h, w = x.shape
        return x.view(n, c, h // 2, 2, w // 2, 2).mean((3, 5))

    main = halve(conv("blocks.0.conv2", activate(conv("blocks.0.conv1", x))))
    x = main + conv("blocks.0.shortcut", halve(x))
    main = halve(conv("blocks.1.conv2", activate(conv("blocks.1.conv1", activate(x)))))
    x = main + halve(x)
    for block in (2, 3):
        inner = activate(conv(f"blocks.{block}.conv1", activate(x)))
        x = conv(f"blocks.{block}.conv2", inner) + x
    return activate(x).flatten(2).mean(2)


@pytest.mark.parametrize(("channels", "size"), [(1, 8), (3, 32)])
def test_network_agrees_with_a_plain_reading_of_table_4(channels, size):
    torch.manual_seed(0)
    model = EnergyResNet8(8, in_channels=channels).double()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    images = torch.randn(2, channels, size, size, dtype=torch.float64)
    torch.testing.assert_close(model(images), reference(model.state_dict(), images))


@pytest.mark.parametrize("size", [(8, 8), (7, 9), (4, 5)])
def test_pooled_convolution_is_pooling_after_the_convolution(size):
    torch.manual_seed(0)
    layer = PooledConv2d(3, 5, 3, padding=1).double()
    x = torch.randn(2, 3, *size, dtype=torch.float64, requires_grad=True)
    pooled = F.avg_pool2d(F.conv2d(x, layer.weight, layer.bias, padding=1), 2)
    torch.testing.assert_close(layer(x), pooled)
    values = [x, layer.weight, layer.bias]
    loss = torch.randn_like(pooled)
    expected = torch.autograd.grad((pooled * loss).sum(), values)
    torch.testing.assert_close(torch.autograd.grad((layer(x) * loss).sum(), values), expected)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("height", [4, 8, 16, 28, 32, 64])
def test_images_of_any_size_give_features(channels, height):
    torch.manual_seed(0)
    model = EnergyResNet8(8, in_channels=channels)
    features = model(torch.randn(2, channels, height, height + 3))
    assert features.shape == (2, 8)
    assert features.isfinite().all()
    assert not torch.equal(features[0], features[1])


def test_smallest_size_is_the_one_it_tells():
    model, size = EnergyResNet8(8), EnergyResNet8.min_size
    assert model(torch.zeros(1, 3, size, size)).shape == (1, 8)
    for shape in [(size - 1, size), (size, size - 1)]:
        with pytest.raises(RuntimeError):
            model(torch.zeros(1, 3, *shape))


def test_weights_start_as_xavier_with_the_gain_of_relu_but_for_the_first():
    torch.manual_seed(0)
    convolutions = [m for m in EnergyResNet8(32).modules() if isinstance(m, torch.nn.Conv2d)]
    assert len(convolutions) == 9
    for i, conv in enumerate(convolutions):
        out_channels, in_channels, k, _ = conv.weight.shape
        gain = 1 if i == 0 else math.sqrt(2)
        bound = gain * math.sqrt(6 / (k * k * (in_channels + out_channels)))
        assert 0.9 * bound < conv.weight.abs().max() <= bound
        assert not conv.bias.any()


def test_kernels_that_are_held_serve_evaluation_alone(monkeypatch):
    torch.manual_seed(0)
    network, x = EnergyResNet8(width=4), torch.randn(2, 3, 8, 8)
    pools, kernel = [], PooledConv2d._kernel
    monkeypatch.setattr(PooledConv2d, "_kernel", lambda layer: pools.append(layer) or kernel(layer))
    expected = network.eval()(x)
    assert len(pools) == 2
    with constant_weights(network):
        for _ in range(3):
            torch.testing.assert_close(network(x), expected, rtol=0, atol=0)
        assert len(pools) == 4, "once for each layer"
        # Training's gradients go through the kernel.
        network.train()(x).sum().backward()
        assert network.blocks[0].conv2.weight.grad.any()
    network.eval()
    with torch.no_grad():
        network.blocks[0].conv2.weight.add_(1)
    assert not torch.allclose(network(x), expected), "nothing is kept"


def test_kernels_are_dropped_when_a_draw_fails():
    network = EnergyResNet8(width=4).eval()
    with pytest.raises(ZeroDivisionError), constant_weights(network):
        1 / 0  # noqa: B018
    assert all(block.conv2._held is None for block in network.blocks[:2])


def test_no_pooling_pads_itself(monkeypatch):
    """CUDA's gradient of one that does is wrong for channels_last: pytorch/pytorch#188344."""
    pool, paddings = F.avg_pool2d, []

    def noted(input, kernel_size, stride=None, padding=0, *args, **kwargs):
        paddings.append(padding)
        return pool(input, kernel_size, stride, padding, *args, **kwargs)

    monkeypatch.setattr(F, "avg_pool2d", noted)
    EnergyResNet8(4)(torch.zeros(1, 3, 8, 8)).sum().backward()
    assert paddings == [0, 0, 0, 0]  # two kernels and two shortcuts
