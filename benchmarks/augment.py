"""The views of a batch: solo-learn's Pillow pipelines against batches on the device."""

import torch
from torch import Tensor
from torchvision.transforms.functional import pil_to_tensor, to_pil_image

from benchmarks.measure import Row, by_pillow, interleaved, options, report
from solo_gedi import hosts
from solo_gedi.config import load_config
from solo_gedi.data.batched import BatchedViews

CONTRASTIVE = [
    "augmentations.0.color_jitter.prob=0.8",
    "augmentations.0.grayscale.prob=0.2",
    "augmentations.0.gaussian_blur.prob=0.5",
    "augmentations.0.solarization.prob=0.1",
]
STRENGTHS = {"Table 5's": [], "contrastive": CONTRASTIVE}


def main() -> None:
    """Time everything, and store the medians."""
    given = options(__doc__).parse_args()
    torch.set_num_threads(given.threads)
    pixels = torch.randint(256, (given.batch, 3, given.size, given.size), dtype=torch.uint8)
    images = [to_pil_image(image) for image in pixels]

    work = {}
    for name, overrides in STRENGTHS.items():
        (entry,) = load_config("cifar/swav", overrides).augmentations
        pipelines, copies = [hosts.build_transform("cifar10", entry)], [entry.num_crops]
        multi_view = hosts.multi_view(pipelines, copies)
        device_views = BatchedViews(pipelines, copies)

        def one_by_one(multi_view=multi_view) -> list[Tensor]:  # noqa: ANN001
            return [view.to(given.device) for view in by_pillow(multi_view, images)]

        def batched(device_views=device_views) -> list[Tensor]:  # noqa: ANN001
            return device_views(torch.stack(list(map(pil_to_tensor, images))).to(given.device))

        work |= {f"{name}, Pillow": one_by_one, f"{name}, on the device": batched}
    milliseconds = interleaved(work, given.rounds)
    rows: list[Row] = [
        {
            "augmentations": name,
            "ms": value,
            "images a second": 1e3 * given.batch / value,
            "against Pillow": milliseconds[f"{name.partition(',')[0]}, Pillow"] / value,
        }
        for name, value in milliseconds.items()
    ]
    note = (
        "Two views of every image, from images as a data set holds them to batches on the device, "
        "by one process. The contrastive strengths: jitter 0.8, grey 0.2, blur 0.5, solarization "
        "0.1."
    )
    report("augment", "the views of a batch", rows, given, note)


if __name__ == "__main__":
    main()
