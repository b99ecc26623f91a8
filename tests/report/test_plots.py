import pytest
import torch
from matplotlib.figure import Figure

from solo_gedi.evaluation.pictures import (
    ClusterMap,
    ClusterSizes,
    Confusion,
    FeatureMap,
    ImageChains,
    Picture,
    PointChains,
    RocCurves,
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
SETS = {"digits": scores(1), "uniform": scores(0)}
MANY = [str(k) for k in range(60)]
CHAINS = {0: normal(30, 2), 100: normal(30, 2) / 2}
PICTURES = [
    ScoreSets(task="ood", name="ood", title="Scores", scores=SETS),
    RocCurves(task="ood", name="roc", title="Curves", scores={**SETS, "svhn": scores(5)}),
    ClusterSizes(task="clustering", name="sizes", title="Sizes", sizes=torch.tensor([3, 0, 9])),
    ClusterSizes(task="clustering", name="many", title="Sizes", sizes=torch.arange(60)),
    Confusion(
        task="clustering",
        name="confusion",
        title="Clusters and classes",
        table=torch.tensor([[3, 1], [0, 4], [2, 2]]),
        clusters=["1", "0", "7"],
        classes=["cats", "dogs"],
    ),
    Confusion(
        task="clustering",
        name="large",
        title="Clusters and classes",
        table=torch.eye(60).long(),
        clusters=MANY,
        classes=MANY,
    ),
    FeatureMap(
        task="clustering",
        name="map",
        title="Map",
        places=normal(60, 2),
        kinds={"cluster": MANY, "class": ["a", "b"] * 30},
    ),
    ClusterMap(
        task="clustering",
        name="clusters",
        title="Clusters",
        points=normal(40, 2),
        clusters=(normal(40, 2)[:, 0] > 0).long() * 11,  # more clusters than colours
        regions=(SQUARE[..., 0] > 0).long() * 11,
        box=1.0,
    ),
    ImageChains(
        task="samples",
        name="images",
        title="Chains",
        start="fresh",
        chains={0: normal(5, 1, 8, 8), 9: normal(5, 3, 8, 8)},
        real=normal(5, 1, 8, 8),
    ),
    PointChains(
        task="samples",
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


def test_histograms_have_an_axis_for_each_data_set():
    figure = plots.draw(PICTURES[0])
    assert [axis.get_title("left") for axis in figure.axes] == ["digits", "uniform"] * 3
    titles = [panel.title for panel in plots.panels_of(PICTURES[0])]
    assert titles == ["-||grad_x log p||", "log p", "max p(y|x)"]


def test_curves_have_their_area_in_the_legend():
    """The areas are those of scikit-learn, which counts pairs."""
    against_uniform, against_svhn = plots.panels_of(PICTURES[1])
    assert against_uniform.title == "Against uniform"
    (axis,) = against_uniform.figure().axes
    inside, outside = SETS["digits"]["log_density"], SETS["uniform"]["log_density"]
    area = float((inside[:, None] > outside).double().mean())
    labels = [text.get_text() for text in axis.get_legend().get_texts()]
    assert f"log p: {area:.3f}" in labels
    assert len(labels) == 3
    first = axis.get_lines()[1].get_xydata()
    assert first[0].tolist() == [0, 0]
    assert first[-1].tolist() == [1, 1]


def test_confusion_is_counted_in_its_cells():
    (panel,) = plots.panels_of(PICTURES[4])
    (axis,) = panel.figure().axes
    places = {(text.get_position(), text.get_text()) for text in axis.texts}
    expected = {((0, 0), "3"), ((1, 0), "1"), ((1, 1), "4"), ((0, 2), "2"), ((1, 2), "2")}
    assert places == expected
    assert [label.get_text() for label in axis.get_yticklabels()] == ["1", "0", "7"]


def test_an_infinite_score_does_not_spoil_the_histogram():
    outlier = {"log_density": torch.cat([normal(200), torch.tensor([1e30])])}
    figure = plots.draw(ScoreSets(task="ood", name="ood", title="", scores={"digits": outlier}))
    assert figure.axes[0].get_xlim()[1] < 10


def test_what_nobody_knows_how_to_draw_is_refused():
    with pytest.raises(TypeError, match="no drawing for Picture"):
        plots.draw(Picture(task="knn", name="it", title="It"))


def test_regions_of_the_map_lie_where_the_mesh_says():
    """Left of x=0 is cluster 0, right of it the other; below in the picture is small y."""
    upper = ClusterMap(
        task="clustering",
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
