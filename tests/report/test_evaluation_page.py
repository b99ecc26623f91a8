"""What a person sees of an evaluation, in a browser."""

import json
import re
import shutil

import pytest

from solo_gedi.evaluation import sampling
from solo_gedi.evaluation.rows import select
from solo_gedi.report import evaluate


@pytest.fixture(scope="module")
def evaluated(trained, tmp_path_factory):
    """A run and its page, which no test changes."""
    folder = tmp_path_factory.mktemp("evaluated") / "run"
    shutil.copytree(trained("gedi"), folder)
    config = json.loads((folder / "args.json").read_text())
    config["data"]["num_workers"] = 0
    (folder / "args.json").write_text(json.dumps(config))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sampling, "IMAGE_STEPS", (0, 3))
        evaluate(folder, "clustering,knn,ood")
        options = {"fid_features": "backbone", "steps": 2, "num_samples": 50}
        options["overrides"] = ["probe.max_epochs=1"]
        return evaluate(folder, "triad,fid,samples,linear", **options)


@pytest.fixture(scope="module")
def page(evaluated):
    return evaluated.folder / "report.html"


SECTIONS = {
    "Clustering": ["Measured on: test", "NMI over mini-batches", "Sizes of the clusters"],
    "Out-of-distribution detection": ["Measured on: test", "ROC curves", "Scores", "The most and"],
    "Samples": ["Samples from fresh chains", "Samples from the replay buffer"],
}


@pytest.mark.parametrize("width", [1200, 400])
def test_it_is_read_on_a_desk_and_on_a_phone(page, opened, width):
    tab = opened(page, width)
    assert tab.evaluate("document.documentElement.scrollWidth") <= width
    images = tab.eval_on_selector_all(
        "img", "all => all.map(i => [i.naturalWidth, i.alt, i.getBoundingClientRect().right])"
    )
    assert all(natural > 0 and alt and right <= width for natural, alt, right in images)
    levels = tab.eval_on_selector_all("h1,h2,h3,h4", "all => all.map(h => +h.tagName[1])")
    assert all(b - a <= 1 for a, b in zip(levels, levels[1:], strict=False))
    names = tab.locator("h2").all_inner_texts()
    wanted = ["At a glance", "Clustering", "Linear probe", "Nearest neighbours"]
    wanted += ["Out-of-distribution detection", "Distance of samples to data", "Samples"]
    assert names == [*wanted, "Failure modes", "Training", "Settings and environment"]
    titles = tab.locator("h3").all_inner_texts()
    for parts in SECTIONS.values():
        for part in parts:
            assert any(title.startswith(part) for title in titles), part


def test_every_cluster_has_a_gallery_from_sure_to_unsure(page, evaluated, opened):
    tab = opened(page)
    (used,) = select(evaluated.metrics["results"], metric="clusters_used", source="model")
    groups = tab.locator(".group", has=tab.locator("h4", has_text=re.compile("^Cluster")))
    assert groups.count() == used["value"]
    sizes = []
    for k in range(groups.count()):
        said = groups.nth(k).locator(".note").inner_text()
        sizes.append(int(said.split()[0]))
        alts = groups.nth(k).locator("img").evaluate_all("all => all.map(i => i.title)")
        assert len(alts) == min(sizes[-1], 12)
        shares = [float(alt.split(",")[0]) for alt in alts]
        assert shares == sorted(shares, reverse=True)
    assert sum(sizes) == 360


def test_numbers_of_both_evaluations_are_there_with_their_sentences(page, evaluated, opened):
    tab = opened(page)
    text = tab.locator("main").inner_text()
    for row in evaluated.metrics["results"]:
        if row["metric"] not in ("clusters_used", "largest_cluster", "smallest_cluster"):
            assert f"{row['value']:.4f}" in text or f"{row['value']:.4g}" in text, row
    for words in ("weighted kNN on the features, k=20", "k-means (k=10) on the pixels"):
        assert words in text
    curves = tab.locator(".panels", has=tab.locator("img[alt^=Curves]")).locator("figcaption")
    assert "invariance loss" in curves.all_inner_texts()
    assert evaluated.metrics["environment"]["python"] in text
    assert "max_epochs: 1" not in text  # until it is asked for
    tab.locator("summary", has_text="Hyper-parameters").click()
    assert "max_epochs: 1" in tab.locator("pre").inner_text()


def test_it_is_one_file_of_moderate_size(page):
    text = page.read_text()
    assert len(text) < 3e6
    assert not re.search(r"(src|href)=\"(?!data:|#)", text)
    assert "<script" not in text
