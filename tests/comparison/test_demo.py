"""The demo: three methods, one table, two pictures."""

import csv

from solo_gedi.comparison.demo import demo


def test_demo_compares_three_methods_and_draws_one(tmp_path):
    rows = demo(out="out", epochs=1, seed=3)
    out = tmp_path / "out"
    assert [row["method"] for row in rows] == ["gedi", "swav", "barlow_twins"]
    for row in rows:
        assert list(row) == ["method", "NMI", "linear acc", "kNN acc", "seconds"]
        assert all(0 <= row[name] <= 1 for name in ("NMI", "linear acc", "kNN acc"))
    with (out / "table.csv").open() as file:
        read = list(csv.DictReader(file))
    assert [row["method"] for row in read] == [row["method"] for row in rows]
    assert float(read[2]["kNN acc"]) == rows[2]["kNN acc"]
    assert (out / "table.md").read_text().count("|") > 10
    for picture in ("samples.png", "gedi.png"):
        assert (out / picture).read_bytes().startswith(b"\x89PNG")
    assert len(list(out.glob("*/*/metrics.json"))) == 3
