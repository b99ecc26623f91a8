"""The demo, from an empty folder: three methods, one table, two pictures."""

import csv
import re


def test_demo_compares_three_methods_and_draws_one(solo_gedi, tmp_path):
    status, said, complained = solo_gedi("demo", "--epochs", "1", "--seed", "3")
    assert status == 0, complained
    out = tmp_path / "runs" / "demo"
    with (out / "table.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["method"] for row in rows] == ["gedi", "swav", "barlow_twins"]
    for row in rows:
        assert list(row) == ["method", "NMI", "linear acc", "kNN acc", "seconds"]
        shown = rf"^{row['method']} +0\.\d+ +0\.\d+ +{float(row['kNN acc']):.3f} +\d+$"
        assert re.search(shown, said, re.M)
    printed = re.findall(r"\b0\.\d{3}\b", said.rpartition("test split")[2])
    assert re.findall(r"\b0\.\d+", (out / "table.md").read_text()) == printed
    for picture in ("samples.png", "gedi.png"):
        assert (out / picture).read_bytes().startswith(b"\x89PNG")
    assert len(list(out.glob("*/*/metrics.json"))) == 3
