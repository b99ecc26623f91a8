import pytest

from solo_gedi.evaluation.rows import describe, identity, merge, select

SENTENCES = [
    (
        {"task": "clustering", "metric": "nmi", "source": "model", "output": "prototypes"},
        "argmax of the prototypes",
    ),
    (
        {"task": "clustering", "metric": "nmi", "source": "kmeans", "k": 10},
        "k-means (k=10) on the features",
    ),
    (
        {"task": "clustering", "metric": "nmi", "source": "pixels", "k": 10},
        "k-means (k=10) on the pixels",
    ),
    (
        {
            **{"task": "clustering", "metric": "minibatch_nmi_chance", "source": "model"},
            **{"output": "cluster head", "batch": 64},
        },
        "argmax of the cluster head, mean over mini-batches of 64, "
        "clusters permuted over the points",
    ),
    (
        {"task": "triad", "metric": "feature_std", "noise": 0.03},
        "features and clusters; views by noise of std 0.03",
    ),
    ({"task": "triad", "metric": "log_density", "of": "chains"}, "mean log p of the chains"),
    (
        {
            **{"task": "triad", "metric": "neighbour_cut", "source": "model"},
            **{"k": 10, "space": "data", "points": 2000},
        },
        "clusters: edges cut of the graph of 10 nearest neighbours in the data, 2000 points, "
        "over chance",
    ),
    (
        {
            **{"task": "linear", "metric": "accuracy", "optimizer": "sgd"},
            **{"lr": 0.001, "epochs": 100, "batch": 100},
        },
        "offline linear probe: sgd, learning rate 0.001, 100 epochs, batch 100",
    ),
    (
        {"task": "ood", "metric": "auroc", "score": "neg_grad_norm", "against": "svhn"},
        "-||grad_x log p||, against svhn",
    ),
    (
        {
            **{"task": "ood", "metric": "auroc", "score": "knn_distance"},
            **{"k": 50, "against": "mnist"},
        },
        "-distance to the training features (unit length, k=50), against mnist",
    ),
    (
        {
            **{"task": "ood", "metric": "auroc", "score": "max_softmax"},
            **{"against": "custom", "path": "images/test"},
        },
        "max p(y|x), against custom:images/test",
    ),
    (
        {
            **{"task": "fid", "metric": "fid", "features": "inception"},
            **{"samples": 60, "steps": 3, "start": "buffer"},
        },
        "60 samples after 3 SGLD steps from the buffer, against real images",
    ),
    (
        {
            **{"task": "fid", "metric": "frechet_distance", "features": "backbone"},
            **{"samples": 60, "steps": 3, "start": "fresh"},
        },
        "60 samples after 3 SGLD steps from fresh chains, against real images, "
        "by the model's own features",
    ),
    ({"task": "new", "metric": "size", "unit": "mm", "split": "test"}, "unit=mm"),
]


@pytest.mark.parametrize(("row", "sentence"), SENTENCES)
def test_the_sentence_is_made_from_the_keys(row, sentence):
    assert describe(row) == sentence


def row(value, **keys):
    return {"task": "fid", "metric": "fid", "split": "test", "value": value, **keys}


def test_rows_are_the_same_where_all_but_the_value_is():
    assert identity(row(1.0, steps=20)) == identity(row(2.0, steps=20))
    assert identity(row(1.0, steps=20)) != identity(row(1.0, steps=500))
    assert identity(row(1.0)) != identity(row(1.0, steps=20))


def test_merging_replaces_what_was_measured_again_and_keeps_the_rest():
    old = [row(1.0, steps=20), row(2.0, steps=100)]
    new = [row(3.0, steps=500), row(4.0, steps=20)]
    before = [dict(entry) for entry in old]
    assert merge(old, new) == [row(4.0, steps=20), row(2.0, steps=100), row(3.0, steps=500)]
    assert old == before


def test_rows_are_found_by_keys():
    rows = [row(1.0, steps=20), row(2.0, steps=100)]
    assert select(rows, steps=100) == [rows[1]]
    assert select(rows, task="fid") == rows
    assert select(rows, start="fresh") == []
