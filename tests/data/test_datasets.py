import math
from urllib.error import URLError

import numpy as np
import pytest
import scipy.io
import torch
import torchvision.datasets.svhn
from sklearn.datasets import load_digits
from torch.utils.data import DataLoader
from torchvision.datasets import SVHN
from torchvision.transforms.functional import pil_to_tensor

from solo_gedi.data import DATASETS, FreshPoints, datasets
from solo_gedi.errors import DataError

SPLITS = {"train": 1077, "val": 360, "test": 360}


def digits(split, transform=None):
    return DATASETS["digits"].images(split, split == "train", transform)


def svhn(path, train=True):
    return DATASETS["svhn"].images(str(path), train, None)


def points(name, n):
    xy, labels = DATASETS[name].points(n)
    return xy.double().numpy(), labels.numpy()


@pytest.mark.parametrize("name", DATASETS)
def test_every_data_set_is_of_images_or_of_points(name):
    spec = DATASETS[name]
    assert (spec.images is None) != (spec.points is None)
    assert len(spec.mean) == len(spec.std)
    assert bool(spec.mean) == (spec.images is not None)


@pytest.mark.parametrize(("split", "size"), SPLITS.items())
def test_digits_splits_have_their_sizes_and_all_classes_in_proportion(split, size):
    labels = np.array([label for _, label in digits(split)])
    assert len(labels) == len(digits(split)) == size
    target = load_digits().target
    share = np.bincount(target) * size / len(target)
    assert np.abs(np.bincount(labels, minlength=10) - share).max() <= 1
    assert DATASETS["digits"].num_classes == len(share)


def rows(images, labels):
    """Labelled images as sorted rows, to compare as multisets."""
    return sorted(
        [*image.ravel().tolist(), int(y)] for image, y in zip(images, labels, strict=True)
    )


def test_digits_splits_together_are_scikit_learns_images_each_once():
    images, labels = [], []
    for split in SPLITS:
        for image, label in digits(split):
            # scikit-learn's grey values run from 0 to 16, a PIL image's from 0 to 255.
            images.append(np.rint(np.asarray(image) * (16 / 255)))
            labels.append(label)
    expected = load_digits()
    assert rows(images, labels) == rows(expected.images, expected.target)


def test_digits_use_the_whole_range_of_grey_values():
    values = np.stack([np.asarray(image) for image, _ in digits("train")])
    assert values.dtype == np.uint8
    assert (values.min(), values.max()) == (0, 255)


def test_digits_splits_are_the_same_in_every_process():
    first = digits("val")
    datasets._digits_split.cache_clear()
    second = digits("val")
    assert np.array_equal(first.images, second.images)
    assert np.array_equal(first.targets, second.targets)


def test_a_digit_is_a_grey_pil_image_and_a_plain_label():
    image, label = digits("train")[0]
    assert (image.mode, image.size, type(label)) == ("L", (8, 8), int)


def test_digits_transform_is_applied_to_the_image():
    plain, _ = digits("test")[5]
    transformed, _ = digits("test", pil_to_tensor)[5]
    assert torch.equal(transformed, pil_to_tensor(plain))


def test_an_unknown_split_of_digits_is_refused_by_an_error_that_names_the_splits():
    with pytest.raises(DataError) as error:
        digits("./datasets")
    for word in ("train_path", "val_path", "train", "val", "test", "'./datasets'"):
        assert word in str(error.value)


def assert_mean(values, expected):
    """Within 4 standard errors."""
    error = values.std() / math.sqrt(len(values))
    assert abs(values.mean() - expected) < 4 * error


def test_circles_have_scikit_learns_radii_and_noise():
    torch.manual_seed(0)
    xy, labels = points("circles", 40_000)
    for label, radius in ((0, 1.0), (1, 0.5)):
        chosen = xy[labels == label]
        squared = (chosen**2).sum(1)
        assert_mean(squared, radius**2 + 2 * 0.05**2)
        assert_mean(chosen[:, 0], 0)
        assert_mean(chosen[:, 1], 0)
    assert np.bincount(labels).tolist() == [20_000, 20_000]


def test_moons_are_two_half_circles_within_the_box():
    torch.manual_seed(0)
    xy, labels = points("moons", 40_000)
    unscaled = xy * 1.7 + [0.5, 0.25]
    for label, centre, side in ((0, (0, 0), 1), (1, (1, 0.5), -1)):
        from_centre = unscaled[labels == label] - centre
        assert_mean((from_centre**2).sum(1), 1 + 2 * 0.05**2)
        # The mean height of a half circle of radius 1 is 2 / pi.
        assert_mean(side * from_centre[:, 1], 2 / math.pi)
        assert_mean(from_centre[:, 0], 0)
    assert np.bincount(labels).tolist() == [20_000, 20_000]


@pytest.mark.parametrize("name", ["moons", "circles"])
def test_points_fill_the_box_of_fresh_chains(name):
    """But for the noise at the rim of the outer circle."""
    torch.manual_seed(0)
    xy, _ = points(name, 20_000)
    assert (np.abs(xy) <= 1.2).all()
    assert (np.abs(xy) <= 1.0).all(axis=1).mean() > 0.8
    assert np.ptp(xy[:, 0]) > 1.6


def loader(name, views=0, **kwargs):
    return DataLoader(FreshPoints(DATASETS[name].points, 16, views), batch_size=None, **kwargs)


@pytest.mark.parametrize("name", ["moons", "circles"])
def test_training_batches_have_solo_learns_form(name):
    torch.manual_seed(0)
    indices, views, labels = next(iter(loader(name, views=2)))
    assert indices.tolist() == list(range(16))
    assert [view.shape for view in views] == [(16, 2), (16, 2)]
    assert [view.dtype for view in views] == [torch.float32] * 2
    assert torch.equal(views[0], views[1])
    assert views[0].data_ptr() != views[1].data_ptr()
    assert labels.dtype == torch.int64
    assert set(labels.tolist()) == set(range(DATASETS[name].num_classes))


def test_validation_batches_are_points_and_labels():
    xy, labels = next(iter(loader("moons")))
    assert xy.shape == (16, 2)
    assert labels.shape == (16,)


def take(batches, n):
    iterator = iter(batches)
    return [next(iterator)[0] for _ in range(n)]


@pytest.mark.parametrize("name", ["moons", "circles"])
def test_every_batch_is_fresh_and_follows_torchs_seed(name):
    torch.manual_seed(0)
    first = take(loader(name), 3)
    assert len(torch.cat(first).unique(dim=0)) == 3 * 16
    torch.manual_seed(0)
    assert all(torch.equal(a, b) for a, b in zip(first, take(loader(name), 3), strict=True))
    torch.manual_seed(1)
    assert not torch.equal(first[0], take(loader(name), 1)[0])


def test_batches_go_on_from_a_restored_random_state():
    torch.manual_seed(0)
    batches = iter(loader("moons"))
    next(batches)
    state = torch.get_rng_state()
    expected = next(batches)[0]
    torch.set_rng_state(state)
    assert torch.equal(next(batches)[0], expected)


def test_workers_draw_different_points():
    torch.manual_seed(0)
    first, second = take(loader("moons", num_workers=2), 2)
    assert not torch.equal(first, second)


@pytest.fixture
def no_network(monkeypatch):
    def refuse(*args, **kwargs):
        raise URLError("no network")

    monkeypatch.setattr(torchvision.datasets.svhn, "download_url", refuse)


@pytest.mark.parametrize("content", [None, b"not SVHN"])
def test_svhn_that_is_neither_there_nor_downloadable_names_the_folder(
    tmp_path, no_network, content
):
    if content:
        (tmp_path / "train_32x32.mat").write_bytes(content)
    with pytest.raises(DataError, match="has no SVHN .*no network") as error:
        svhn(tmp_path)
    assert str(tmp_path) in str(error.value)


@pytest.mark.parametrize(("train", "file", "size"), [(True, "train", 4), (False, "test", 3)])
def test_svhn_gives_the_split_that_is_asked_for(tmp_path, monkeypatch, train, file, size):
    monkeypatch.setattr(SVHN, "download", lambda self: None)
    monkeypatch.setattr(SVHN, "_check_integrity", lambda self: True)
    images = np.random.default_rng(0).integers(0, 256, (32, 32, 3, size), dtype=np.uint8)
    labels = np.arange(1, size + 1)[:, None]
    scipy.io.savemat(tmp_path / f"{file}_32x32.mat", {"X": images, "y": labels})
    data = svhn(tmp_path, train)
    assert len(data) == size
    for i, (image, label) in enumerate(data):
        assert np.array_equal(np.asarray(image), images[..., i])
        assert label == labels[i, 0]


LIKE_MNIST = {"fashion_mnist": "FashionMNIST", "mnist": "MNIST", "kmnist": "KMNIST"}


@pytest.mark.parametrize(("name", "kind"), LIKE_MNIST.items())
def test_sets_like_mnist_are_read_from_torchvisions_files(tmp_path, mnist_files, name, kind):
    written = mnist_files(tmp_path, kind)
    spec = DATASETS[name]
    assert (spec.size, spec.num_classes, len(spec.mean)) == (28, 10, 1)
    for train, (images, labels) in {True: written["train"], False: written["t10k"]}.items():
        data = spec.images(str(tmp_path), train, None)
        assert len(data) == len(images)
        for (image, label), pixels, expected in zip(data, images, labels, strict=True):
            assert (image.mode, image.size, label) == ("L", (28, 28), expected)
            assert np.array_equal(np.asarray(image), pixels)


@pytest.mark.parametrize(("name", "kind"), LIKE_MNIST.items())
@pytest.mark.parametrize("content", [None, b"", b"\0\0\x08\x03", b"not what it should be at all"])
def test_sets_like_mnist_that_are_not_there_name_the_folder(
    tmp_path, mnist_files, monkeypatch, name, kind, content
):
    def refuse(*args, **kwargs):
        raise URLError("no network")

    monkeypatch.setattr("torchvision.datasets.mnist.download_and_extract_archive", refuse)
    if content is not None:
        mnist_files(tmp_path, kind)
        (tmp_path / kind / "raw" / "train-images-idx3-ubyte").write_bytes(content)
    with pytest.raises(DataError, match=f"{kind}/raw") as error:
        DATASETS[name].images(str(tmp_path), True, None)
    message = str(error.value)
    assert str(tmp_path) in message
    assert len(message.splitlines()) == 1
    # torchvision may print the reason, and raises that it could not download.
    assert content is not None or "no network" in message or "Error downloading" in message
