import math

import pytest
import scipy.stats
import torch
from torchvision.transforms import Normalize

from solo_gedi.data import SampleSpace

MEAN, STD = (0.44, 0.4, 0.5), (0.2, 0.25, 0.1)
SPACES = {
    "images": (SampleSpace.of_images(MEAN, STD), (5, 3, 8, 8)),
    "grey images": (SampleSpace.of_images([0.5], [0.5]), (5, 1, 8, 8)),
    "points": (SampleSpace(low=-4, high=4), (5, 2)),
    "scaled points": (SampleSpace(shift=(1.0, -2.0), scale=(2.0, 3.0)), (5, 2)),
}


@pytest.mark.parametrize("name", SPACES)
def test_the_two_maps_undo_each_other(name):
    space, shape = SPACES[name]
    x = torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    torch.testing.assert_close(space.to_samples(space.to_input(x)), x)
    torch.testing.assert_close(space.to_input(space.to_samples(x)), x)


def test_images_map_to_what_the_pipeline_gives_for_their_pixels():
    space, shape = SPACES["images"]
    samples = 2 * torch.rand(shape, generator=torch.Generator().manual_seed(0)) - 1
    pixels = (samples + 1) / 2
    torch.testing.assert_close(space.to_input(samples), Normalize(MEAN, STD)(pixels))


def test_black_is_minus_one_and_white_is_one():
    space = SPACES["images"][0]
    for pixel, sample in ((0.0, -1.0), (1.0, 1.0)):
        inputs = Normalize(MEAN, STD)(torch.full((2, 3, 4, 4), pixel))
        torch.testing.assert_close(space.to_samples(inputs), torch.full((2, 3, 4, 4), sample))


def test_points_are_their_own_samples_by_default():
    x = torch.randn(5, 2, generator=torch.Generator().manual_seed(0))
    assert torch.equal(SampleSpace().to_input(x), x)
    assert torch.equal(SampleSpace().to_samples(x), x)


def test_each_coordinate_of_a_point_has_its_own_shift_and_scale():
    space = SPACES["scaled points"][0]
    assert space.to_input(torch.tensor([[3.0, 1.0]])).tolist() == [[1.0, 1.0]]


def test_maps_keep_dtype_and_the_gradient():
    x = torch.zeros(2, 3, 4, 4, dtype=torch.float64, requires_grad=True)
    inputs = SPACES["images"][0].to_input(x)
    assert inputs.dtype == torch.float64
    inputs.sum().backward()
    for channel, std in enumerate(STD):
        torch.testing.assert_close(
            x.grad[:, channel], torch.full((2, 4, 4), 1 / (2 * std), dtype=torch.float64)
        )


def test_noise_has_the_given_std_in_sample_units_in_every_channel():
    torch.manual_seed(0)
    space, std = SPACES["images"][0], 0.03
    inputs = torch.randn(20, 3, 32, 32)
    noisy = space.add_noise(inputs, std)
    in_samples = (space.to_samples(noisy) - space.to_samples(inputs)).transpose(0, 1).flatten(1)
    in_inputs = (noisy - inputs).transpose(0, 1).flatten(1)
    n = in_samples.shape[1]
    for channel in range(3):
        assert in_samples[channel].std().item() == pytest.approx(std, rel=4 / math.sqrt(2 * n))
        assert abs(in_samples[channel].mean().item()) < 4 * std / math.sqrt(n)
        # A pixel in [0, 1] moves half as far as a sample in [-1, 1].
        expected = std / 2 / STD[channel]
        assert in_inputs[channel].std().item() == pytest.approx(expected, rel=4 / math.sqrt(2 * n))


def test_noise_is_drawn_anew_for_every_value_and_call():
    torch.manual_seed(0)
    inputs = torch.zeros(2, 3, 8, 8)
    first, second = (SPACES["images"][0].add_noise(inputs, 0.1) for _ in range(2))
    assert len(torch.cat([first, second]).unique()) > 0.99 * 2 * inputs.numel()


def test_noise_of_size_0_is_not_drawn():
    inputs = torch.ones(2, 3, 8, 8)
    state = torch.get_rng_state()
    torch.testing.assert_close(SPACES["images"][0].add_noise(inputs, 0.0), inputs)
    torch.testing.assert_close(torch.get_rng_state(), state)


@pytest.mark.parametrize(("low", "high"), [(-1.0, 1.0), (-4.0, 4.0), (2.0, 2.5)])
def test_fresh_chains_are_uniform_over_the_box(low, high):
    space = SampleSpace(low=low, high=high)
    chains = space.uniform((500, 2, 4), generator=torch.Generator().manual_seed(0))
    assert chains.shape == (500, 2, 4)
    test = scipy.stats.kstest(chains.flatten().numpy(), "uniform", args=(low, high - low))
    assert test.pvalue > 1e-3
    assert low <= chains.min()
    assert chains.max() <= high


def test_fresh_chains_follow_the_generator():
    first, again, other = (
        SampleSpace().uniform((5, 2), generator=torch.Generator().manual_seed(seed))
        for seed in (0, 0, 1)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
