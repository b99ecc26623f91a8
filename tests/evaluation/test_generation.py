import numpy as np
import pytest
import scipy.linalg
import torch
from torch import nn

from solo_gedi.data import SampleSpace
from solo_gedi.errors import DataError, MissingPackageError
from solo_gedi.evaluation import (
    SampleFeatures,
    draw_samples,
    frechet_distance,
    generation,
    inception_features,
)

AS_IT_IS = SampleFeatures(nn.Identity(), lambda x: x, 3)


def distance(real, fake):
    return frechet_distance(AS_IT_IS, real.split(1000), fake.split(1000))


def test_frechet_distance_is_the_closed_form_of_axis_aligned_gaussians():
    """||m1 - m2||^2 + sum (s1 - s2)^2."""
    generator = torch.Generator().manual_seed(0)
    standard = torch.randn(40_000, 3, generator=generator)
    standard = (standard - standard.mean(0)) / standard.std(0)
    standard = standard @ torch.linalg.inv(torch.linalg.cholesky(standard.T.cov())).T
    mean, std = torch.tensor([1.0, -2.0, 0.5]), torch.tensor([2.0, 0.5, 1.0])
    expected = float(mean.square().sum() + (std - 1).square().sum())
    assert distance(standard, standard * std + mean) == pytest.approx(expected, rel=1e-3)


def test_frechet_distance_agrees_with_scipys_matrix_root():
    rng = np.random.default_rng(0)
    real = rng.normal(size=(500, 3)) @ rng.normal(size=(3, 3)) + rng.normal(size=3)
    fake = rng.normal(size=(400, 3)) @ rng.normal(size=(3, 3))
    c_r, c_f = np.cov(real.T), np.cov(fake.T)
    root = scipy.linalg.sqrtm(c_r @ c_f).real
    expected = np.square(real.mean(0) - fake.mean(0)).sum() + np.trace(c_r + c_f - 2 * root)
    found = distance(torch.from_numpy(real).float(), torch.from_numpy(fake).float())
    assert found == pytest.approx(expected, rel=1e-3)


def test_frechet_distance_of_a_set_to_itself_is_zero():
    x = torch.randn(300, 3, generator=torch.Generator().manual_seed(1))
    assert distance(x, x.flip(0)) == pytest.approx(0, abs=1e-4)


def test_features_are_of_what_the_network_sees():
    space = SampleSpace(shift=(1.0,), scale=(2.0,))
    features = SampleFeatures(nn.Flatten(), space.to_input, 4)
    samples = torch.rand(5, 1, 2, 2)
    torch.testing.assert_close(features(samples), ((samples - 1) / 2).flatten(1))


def test_inception_sees_the_bytes_of_a_picture():
    pixels = torch.tensor([-3.0, -1.0, -0.5, 0.0, 1.0, 3.0]).view(1, 1, 2, 3)
    found = generation._bytes(pixels)
    assert found.dtype == torch.uint8
    expected = torch.tensor([0, 0, 64, 128, 255, 255], dtype=torch.uint8).view(1, 1, 2, 3)
    assert torch.equal(found, expected.expand(1, 3, 2, 3))


def test_missing_inception_weights_are_named():
    with pytest.raises(DataError, match="--inception-weights=nowhere.pth is not a file"):
        inception_features("nowhere.pth")


def test_without_torch_fidelity_the_error_names_the_extra(monkeypatch):
    monkeypatch.setattr("torchmetrics.image.fid._TORCH_FIDELITY_AVAILABLE", False)
    with pytest.raises(MissingPackageError, match=r"pip install 'solo-gedi\[fid\]'"):
        inception_features()
    x = torch.randn(50, 3)
    assert distance(x, x) == pytest.approx(0, abs=1e-4)  # which needs no Inception


def test_fid_takes_inception_from_a_file(tmp_path, monkeypatch):
    """Untrained weights here, in the form of torch-fidelity's."""
    inception = pytest.importorskip("torch_fidelity.feature_extractor_inceptionv3")
    network = inception.FeatureExtractorInceptionV3
    torch.save({}, tmp_path / "none.pth")
    with monkeypatch.context() as patch:
        patch.setattr(network, "load_state_dict", lambda *_: None)
        untrained = network("inception", ["2048"], str(tmp_path / "none.pth"))
    torch.save(untrained.state_dict(), tmp_path / "inception.pth")
    features = inception_features(str(tmp_path / "inception.pth"))
    grey = torch.rand(2, 1, 8, 8, generator=torch.Generator().manual_seed(0)) * 2 - 1
    colour = grey.expand(-1, 3, -1, -1)
    with torch.no_grad():
        found, alike = features(grey), features(torch.cat([colour, colour + 1e-5]))  # bytes
    torch.testing.assert_close(torch.cat([found, found]), alike)
    assert found.shape == (2, features.num_features)
    assert frechet_distance(features, [grey], [colour]) == pytest.approx(0, abs=1e-3)


def well(x):
    """log p(x) = -||x||^2 / 2 up to a constant, as the only logit."""
    return -x.square().sum(-1, keepdim=True) / 2


def test_samples_are_kept_on_their_way(make_model):
    """Without noise every step shrinks a chain by 1 - step_size, in units of the input."""
    space = SampleSpace(shift=(0.5, 0.5), low=1.2, high=1.6)
    chains = torch.rand(7, 2) + 1
    model = make_model(well, space=space, step_size=0.1, noise_std=0)
    drawn = draw_samples(model, chains, (0, 1, 10))
    for steps, samples in drawn.items():
        torch.testing.assert_close(samples - 0.5, (chains - 0.5) * 0.9**steps)
    clipping = make_model(well, space=space, step_size=0.1, noise_std=0, clip_samples=True)
    boxed = draw_samples(clipping, chains, (1,))[1]
    torch.testing.assert_close(boxed, drawn[1].clamp(1.2, 1.6))


def test_long_chains_have_the_models_distribution(make_model):
    """step_size = noise_std^2 / 2 is Langevin's diffusion of the density itself: here N(0, 1)."""
    generator = torch.Generator().manual_seed(0)
    start = SampleSpace(low=-4, high=4).uniform((4000, 2), generator=generator)
    model = make_model(well, step_size=0.3**2 / 2, noise_std=0.3)
    drawn = draw_samples(model, start, (400,), generator=generator)[400]
    assert drawn.mean().abs() < 0.05
    # The discretised chain's variance is 1 / (1 - step_size / 2).
    assert drawn.var() == pytest.approx(1 / (1 - 0.045 / 2), abs=0.05)


def test_the_same_generator_draws_the_same_samples(make_model):
    model = make_model(well, noise_std=0.3)
    first, again, other = (
        draw_samples(model, torch.zeros(5, 2), (1, 3), generator=torch.Generator().manual_seed(s))
        for s in (0, 0, 1)
    )
    for steps in (1, 3):
        assert torch.equal(first[steps], again[steps])
        assert not torch.equal(first[steps], other[steps])


def test_samples_leave_the_model_as_it_was(make_model):
    model = make_model(well).train()
    draw_samples(model, torch.rand(3, 2), (2,))
    assert model.training
    assert all(parameter.grad is None for parameter in model.parameters())


def test_a_single_image_has_no_frechet_distance():
    itself = SampleFeatures(nn.Identity(), lambda x: x, 2)
    with pytest.raises(DataError, match="needs two images or more"):
        frechet_distance(itself, [torch.zeros(1, 2)], [torch.zeros(5, 2)])
