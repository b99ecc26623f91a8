"""The batched augmentations against solo-learn's own, image by image."""

import math
import random

import pytest
import torch
from omegaconf import OmegaConf
from scipy.stats import ks_2samp
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torchvision import transforms
from torchvision.transforms.functional import to_pil_image

from solo_gedi import hosts
from solo_gedi.errors import ConfigError

pytest.importorskip("kornia")
from solo_gedi.data import batched as batched_module
from solo_gedi.data.batched import BatchedViews

DRAWS = 600
PYPI = hosts.GENERATION == "pypi"


@pytest.fixture(autouse=True)
def fixed_seed():
    torch.manual_seed(0)
    random.seed(0)


def pipeline(dataset="cifar10", **changes):
    """solo-learn's pipeline where only what is named happens, crops of the whole image aside."""
    entry = {
        "rrc": {"enabled": True, "crop_min_scale": 1.0, "crop_max_scale": 1.0},
        "color_jitter": {"prob": 0, "brightness": 0, "contrast": 0, "saturation": 0, "hue": 0},
        "crop_size": 32,
        "num_crops": 1,
    }
    for name in ("grayscale", "gaussian_blur", "solarization", "equalization", "horizontal_flip"):
        entry[name] = {"prob": 0}
    return hosts.build_transform(dataset, OmegaConf.merge(entry, changes))


def scene(channels=3, size=32, n=1):
    """Smooth images with some noise."""
    x = torch.nn.functional.interpolate(torch.rand(n, channels, 5, 5), size, mode="bicubic")
    return ((x + 0.1 * torch.randn_like(x)).clamp(0, 1) * 255).round().to(torch.uint8)


def one_by_one(transform, images):
    return torch.stack([transform(to_pil_image(image)) for image in images])


def batched(transform, images):
    return BatchedViews([transform], [1])(images)[0]


def both(transform, image):
    """solo-learn's and our draws of one image, in levels of [0, 255]."""
    images = image.expand(DRAWS, -1, -1, -1)
    return [levels(f(transform, images), transform) for f in (one_by_one, batched)]


def levels(x, transform):
    mean, std = (torch.tensor(v).view(-1, 1, 1) for v in hosts.normalization(transform))
    return 255 * (x * std + mean)


def assert_same_distribution(theirs, ours):
    for name, a, b in zip("abcdefghi", theirs.T, ours.T, strict=False):
        assert ks_2samp(a, b).pvalue > 1e-3, (name, a.mean(), b.mean(), a.std(), b.std())


def fixed(step):
    """A pipeline of one step that always happens."""
    # What changes the shape is a step of its own in solo-learn's pipelines too.
    resizes = isinstance(step, transforms.Resize)
    always = step if resizes else transforms.RandomApply([step], p=1.0)
    normalize = transforms.Normalize((0.4, 0.5, 0.6), (0.2, 0.25, 0.3))
    return transforms.Compose([always, transforms.ToTensor(), normalize])


def solo_learns(key):
    """solo-learn's own step of a key."""
    transform = pipeline(**{key: {"prob": 1.0}})
    steps = getattr(transform, "transform", transform).transforms
    names = {"gaussian_blur": "GaussianBlur", "solarization": "Solarization"}
    name = names.get(key, "Equalization")
    inner = [step.transforms[0] for step in steps if isinstance(step, transforms.RandomApply)]
    return next(step for step in inner if type(step).__name__ == name)


def blur(sigma):
    step = solo_learns("gaussian_blur")
    step.sigma = [sigma, sigma]
    return step


STEPS = {
    "brighter": lambda: transforms.ColorJitter(brightness=(1.4, 1.4)),
    "darker": lambda: transforms.ColorJitter(brightness=(0.6, 0.6)),
    "more contrast": lambda: transforms.ColorJitter(contrast=(1.4, 1.4)),
    "less contrast": lambda: transforms.ColorJitter(contrast=(0.6, 0.6)),
    "more saturation": lambda: transforms.ColorJitter(saturation=(1.4, 1.4)),
    "hue up": lambda: transforms.ColorJitter(hue=(0.3, 0.3)),
    "hue down": lambda: transforms.ColorJitter(hue=(-0.1, -0.1)),
    "less saturation": lambda: transforms.ColorJitter(saturation=(0.6, 0.6)),
    "grey": lambda: transforms.RandomGrayscale(p=1.0),
    "flipped": lambda: transforms.RandomHorizontalFlip(p=1.0),
    "larger": lambda: transforms.Resize(48, transforms.InterpolationMode.BICUBIC),
    "smaller": lambda: transforms.Resize(20, transforms.InterpolationMode.BICUBIC),
    "blurred a little": lambda: blur(0.1),
    "blurred": lambda: blur(0.9),
    "blurred a lot": lambda: blur(2.0),
    "solarized": lambda: solo_learns("solarization"),
    "equalized": lambda: solo_learns("equalization"),
}


@pytest.mark.parametrize("name", STEPS)
def test_a_step_gives_pillows_levels(name):
    if PYPI and name == "equalized":
        pytest.skip("1.0.2 has no equalization")
    images, transform = scene(n=20), fixed(STEPS[name]())
    difference = (one_by_one(transform, images) - batched(transform, images)).abs()
    apart = 255 * difference * torch.tensor((0.2, 0.25, 0.3)).view(-1, 1, 1)
    # float32 decides a tie otherwise than Pillow's integers now and then.
    assert (apart > 1.01).float().mean() < 0.01
    assert apart.mean() < 0.2


@pytest.mark.parametrize("name", ["brighter", "less contrast", "more saturation", "grey"])
def test_grey_images_of_one_channel(name):
    images = scene(channels=1, size=8, n=20)
    end = [transforms.ToTensor(), transforms.Normalize((0.5,), (0.5,))]
    transform = transforms.Compose([STEPS[name](), *end])
    apart = 127.5 * (one_by_one(transform, images) - batched(transform, images)).abs()
    assert apart.max() < 1.01
    assert apart.mean() < 0.05


@pytest.mark.parametrize("dataset", ["cifar10", "cifar100", "svhn", "custom"])
def test_nothing_but_normalisation_when_all_is_off(dataset):
    colours = torch.randint(0, 256, (50, 3, 1, 1), dtype=torch.uint8).expand(-1, -1, 32, 32)
    transform = pipeline(dataset)
    assert torch.allclose(one_by_one(transform, colours), batched(transform, colours), atol=1e-5)
    transform = pipeline(dataset, rrc={"enabled": False})
    images = scene(n=20)
    assert torch.allclose(one_by_one(transform, images), batched(transform, images), atol=1e-5)


@pytest.mark.parametrize("scale", [(0.08, 1.0), (0.85, 1.0), (1.0, 1.0)])
@pytest.mark.parametrize("size", [32, 24])
def test_crops_have_the_same_places_and_sizes(scale, size):
    """Of an image whose red is its column and whose green is its row."""
    ramp = 4.0 * torch.arange(32) + 64
    image = torch.stack([ramp.expand(32, 32), ramp[:, None].expand(32, 32), torch.zeros(32, 32)])
    rrc = {"enabled": True, "crop_min_scale": scale[0], "crop_max_scale": scale[1]}
    draws = both(pipeline(rrc=rrc, crop_size=size), image.to(torch.uint8)[None])

    def boxes(x):
        """First and last quarter of columns and rows, area: bicubic keeps a ramp inside."""
        columns, rows = x[:, 0].mean(1), x[:, 1].mean(2)
        q = size // 4
        width, height = columns[:, -q] - columns[:, q], rows[:, -q] - rows[:, q]
        return torch.stack([columns[:, q], rows[:, q], width, height, width * height], 1).round()

    assert draws[0].shape == draws[1].shape == (DRAWS, 3, size, size)
    assert_same_distribution(*map(boxes, draws))


@pytest.mark.parametrize(
    "strengths",
    [
        {"brightness": 0.4},
        {"contrast": 0.4},
        {"saturation": 0.8},
        {"hue": 0.1},
        {"hue": 0.5},
        {"brightness": 0.8, "contrast": 0.8, "saturation": 0.8, "hue": 0.2},
    ],
    ids=lambda strengths: "-".join(map(str, strengths)),
)
def test_colours_have_the_same_distribution(strengths):
    image = scene()
    image[:, 0] //= 2  # so that channels differ
    off = {"brightness": 0, "contrast": 0, "saturation": 0, "hue": 0}
    draws = both(pipeline(color_jitter={**off, **strengths, "prob": 0.8}), image)

    def statistics(x):
        return torch.cat([x.mean((2, 3)), x.std((2, 3)), x.amin((1, 2, 3))[:, None]], 1).round()

    assert_same_distribution(*map(statistics, draws))


def test_blurs_have_the_same_distribution():
    draws = both(pipeline(gaussian_blur={"prob": 0.5}), scene())
    assert_same_distribution(*(x.std((2, 3)) for x in draws))


@pytest.mark.parametrize("key", ["horizontal_flip", "grayscale", "solarization", "color_jitter"])
@pytest.mark.parametrize("prob", [0.1, 0.5])
def test_rates(key, prob):
    """Of an image that each of them changes."""
    image = torch.zeros(1, 3, 32, 32, dtype=torch.uint8)
    image[:, 0, :, :10] = 200
    off = {"brightness": 0, "contrast": 0, "saturation": 0, "hue": 0}
    change = {"prob": prob, **(off | {"brightness": 0.8} if key == "color_jitter" else {})}
    for x in both(pipeline(**{key: change}), image):
        rate = ((x - image).abs().mean((1, 2, 3)) > 2).float().mean()
        # A jitter may be too small to be seen.
        assert abs(rate - prob) < 4 * math.sqrt(prob * (1 - prob) / DRAWS) + 0.02


def test_whole_pipeline_has_the_same_distribution():
    """With the strengths of the contrastive methods."""
    jitter = {"prob": 0.8, "brightness": 0.4, "contrast": 0.4, "saturation": 0.2, "hue": 0.1}
    transform = pipeline(
        rrc={"enabled": True, "crop_min_scale": 0.2, "crop_max_scale": 1.0},
        color_jitter=jitter,
        grayscale={"prob": 0.2},
        gaussian_blur={"prob": 0.5},
        solarization={"prob": 0.1},
        equalization={"prob": 0 if PYPI else 0.1},
        horizontal_flip={"prob": 0.5},
    )
    draws = both(transform, scene())
    halves = [torch.cat([x.mean((2, 3)), x[..., :16].mean((1, 2, 3))[:, None]], 1) for x in draws]
    assert_same_distribution(*halves)
    assert_same_distribution(*(x.std((2, 3)) for x in draws))


def test_every_image_and_view_has_its_own_parameters():
    jitter = {"prob": 1.0, "brightness": 0.4, "contrast": 0.4, "saturation": 0.2, "hue": 0.1}
    rrc = {"enabled": True, "crop_min_scale": 0.08, "crop_max_scale": 1.0}
    images = scene().expand(64, -1, -1, -1)
    before = images.clone()
    views = BatchedViews([pipeline(rrc=rrc, color_jitter=jitter)], [2])(images)
    assert torch.cat(views).flatten(1).unique(dim=0).shape[0] == 128
    assert torch.equal(images, before)


def test_every_image_has_its_own_order_of_jitters():
    """Two orders of two fixed jitters: two outcomes."""
    images = scene().expand(DRAWS, -1, -1, -1)
    transform = fixed(transforms.ColorJitter(brightness=(1.8, 1.8), contrast=(0.4, 0.4)))
    outcomes, counts = batched(transform, images).flatten(1).unique(dim=0, return_counts=True)
    assert len(outcomes) == 2
    assert abs(counts[0] / DRAWS - 0.5) < 0.1


@pytest.mark.parametrize("missing", [None, "hue", "contrast", "brightness", "saturation"])
def test_jitters_follow_each_other_as_one_by_one(missing):
    """Against each image's own jitters, applied to it alone in its order."""
    strengths = {"brightness": 0.4, "contrast": 0.4, "saturation": 0.4, "hue": 0.1}
    strengths.pop(missing, None)
    step, x = transforms.ColorJitter(**strengths), scene(n=40) / 255
    torch.manual_seed(0)
    ours = batched_module._jitter(x.clone(), step)
    torch.manual_seed(0)
    factors = [torch.empty(40).uniform_(*getattr(step, name)) for name in strengths]
    orders = torch.rand(40, len(strengths)).argsort(1)
    for i, image in enumerate(x):
        for j in orders[i].tolist():
            alone = transforms.ColorJitter(**{list(strengths)[j]: 2 * [factors[j][i].item()]})
            image = batched_module._jitter(image[None], alone)[0]  # noqa: PLW2901
        assert torch.equal(ours[i], image)


class Launches(TorchDispatchMode):
    """Counts what a GPU would launch: operations on the device that are not views."""

    def __init__(self):
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        on_device = any(
            isinstance(leaf, torch.Tensor) and leaf.is_meta for leaf in tree_leaves((args, out))
        )
        views = func.is_view or func == torch.ops.aten._unsafe_view.default
        self.count += on_device and not views
        return out


def test_a_batch_takes_few_launches():
    jitter = {"prob": 0.8, "brightness": 0.4, "contrast": 0.4, "saturation": 0.4, "hue": 0.1}
    views = BatchedViews([pipeline(color_jitter=jitter, horizontal_flip={"prob": 0.5})], [2])
    images = torch.empty(64, 3, 32, 32, dtype=torch.uint8, device="meta")
    views(images)  # fills the table of resizing
    with Launches() as launches:
        views(images)
    assert launches.count < 400


def test_views_come_in_the_order_of_the_entries():
    large, small = pipeline(crop_size=32), pipeline(crop_size=24, horizontal_flip={"prob": 1.0})
    images = torch.arange(5, dtype=torch.uint8).view(5, 1, 1, 1).expand(-1, 3, 32, 32)
    views = BatchedViews([large, small], [2, 3])(images)
    assert [view.shape for view in views] == 2 * [(5, 3, 32, 32)] + 3 * [(5, 3, 24, 24)]
    for view in views:
        assert torch.allclose(levels(view, large).mean((1, 2, 3)), torch.arange(5.0), atol=1e-3)
    assert "batched" in repr(BatchedViews([large], [2]))


def test_randomness_is_torchs():
    transform = pipeline(gaussian_blur={"prob": 1.0}, horizontal_flip={"prob": 0.5})
    images = scene(n=10)
    first = []
    for _ in range(2):
        torch.manual_seed(1)
        first.append(batched(transform, images))
    assert torch.equal(*first)


def test_nothing_leaves_the_device_or_waits_for_it():
    """On the meta device either would be an error."""
    always = {"prob": 1.0}
    keys = ["grayscale", "gaussian_blur", "solarization", "horizontal_flip"]
    keys += [] if PYPI else ["equalization"]
    transform = pipeline(
        color_jitter=always | {"brightness": 0.4, "contrast": 0.4, "saturation": 0.2, "hue": 0.1},
        **{key: always for key in keys},
    )
    images = torch.empty(8, 3, 32, 32, dtype=torch.uint8, device="meta")
    assert batched(transform, images).device == images.device


@pytest.mark.parametrize(
    "step",
    [
        transforms.RandomRotation(10),
        transforms.RandomResizedCrop(32),
        transforms.RandomApply([transforms.RandomInvert()]),
    ],
    ids=["unknown", "bilinear", "nested"],
)
def test_a_step_without_a_batched_form_is_refused(step):
    with pytest.raises(ConfigError, match=r"augmentations\[0\].*augment_on_device") as caught:
        BatchedViews([transforms.Compose([step, transforms.ToTensor()])], [2])
    inner = getattr(step, "transforms", [step])[0]
    assert type(inner).__name__ in str(caught.value)
