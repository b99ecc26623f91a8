import pytest
import torch
from matplotlib.figure import Figure

from solo_gedi.evaluation.pictures import (
    ClusterMap,
    ImageChains,
    Picture,
    PointChains,
    ScoreSets,
    mesh,
)
from solo_gedi.report import plots


def normal(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


def scores(shift):
    names = ("neg_grad_norm", "log_density", "max_softmax")
    return {name: normal(200) + shift for name in names}


SQUARE = mesh(1.0, 50)
CHAINS = {0: normal(30, 2), 100: normal(30, 2) / 2}
PICTURES = [
    ScoreSets(name="ood", title="Scores", scores={"digits": scores(1), "uniform": scores(0)}),
    ClusterMap(
        name="clusters",
        title="Clusters",
        points=normal(40, 2),
        clusters=(normal(40, 2)[:, 0] > 0).long() * 11,  # more clusters than colours
        regions=(SQUARE[..., 0] > 0).long() * 11,
        box=1.0,
    ),
    ImageChains(
        name="images",
        title="Chains",
        start="fresh",
        chains={0: normal(5, 1, 8, 8), 9: normal(5, 3, 8, 8)},
    ),
    PointChains(
        name="points",
        title="Chains",
        start="buffer",
        chains=CHAINS,
        log_density=-SQUARE.norm(dim=-1),
        box=1.0,
    ),
]


@pytest.mark.parametrize("picture", PICTURES, ids=lambda picture: picture.name)
def test_every_picture_becomes_a_figure(picture, tmp_path):
    figure = plots.draw(picture)
    assert isinstance(figure, Figure)
    plots.save_figure(figure, tmp_path / "new" / "it.png", picture.title, "What it shows.")
    assert (tmp_path / "new" / "it.png").stat().st_size > 1000
    assert plots.described(tmp_path / "new" / "it.png") == (picture.title, "What it shows.")
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["it.png"]


def test_histograms_name_scores_and_data_sets():
    figure = plots.draw(PICTURES[0])
    titles = [axis.get_title() for axis in figure.axes]
    assert titles == ["-||grad_x log p||", "log p", "max p(y|x)"]
    labels = [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
    assert labels == ["digits", "uniform"]


def test_an_infinite_score_does_not_spoil_the_histogram():
    outlier = {"log_density": torch.cat([normal(200), torch.tensor([1e30])])}
    figure = plots.draw(ScoreSets(name="ood", title="", scores={"digits": outlier}))
    assert figure.axes[0].get_xlim()[1] < 10


def test_what_nobody_knows_how_to_draw_is_refused():
    with pytest.raises(TypeError, match="no drawing for Picture"):
        plots.draw(Picture(name="it", title="It"))


def test_regions_of_the_map_lie_where_the_mesh_says():
    """Left of x=0 is cluster 0, right of it the other; below in the picture is small y."""
    upper = ClusterMap(
        name="upper",
        title="",
        points=torch.tensor([[0.5, 0.5], [0.5, -0.5]]),
        clusters=torch.tensor([1, 0]),
        regions=(SQUARE[..., 1] > 0).long(),
        box=1.0,
    )
    (image,) = plots.draw(upper).axes[0].get_images()
    colours = torch.from_numpy(image.get_array().data)
    assert image.origin == "lower"
    expected = plots.CLUSTER_COLOURS
    torch.testing.assert_close(colours[0, 0], expected[0], check_dtype=False)
    torch.testing.assert_close(colours[-1, 0], expected[1], check_dtype=False)
