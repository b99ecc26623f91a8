"""The demo, from an empty folder: three methods, one table, two pictures."""

import csv
import json
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
    assert re.findall(r"^(\d) of 3: (\w+)(?:, about \d+ s left)?$", said, re.M) == [
        ("1", "gedi"),
        ("2", "swav"),
        ("3", "barlow"),
    ]
    commands = [line.strip() for line in said.splitlines() if line.startswith("  solo-gedi ")]
    assert [command.split()[1] for command in commands] == ["evaluate", "pretrain"]
    assert (tmp_path / commands[0].split()[2]).is_dir()

    # Done is done; a demo that was stopped before its last method runs that one alone.
    status, again, complained = solo_gedi("demo", "--epochs", "1", "--seed", "3")
    assert status == 0, complained
    assert again.count("3 of 3 methods were done before") == 1
    assert re.findall(r"^barlow_twins .*$", again, re.M) == re.findall(
        r"^barlow_twins .*$", said, re.M
    )
    kept = json.loads((out / "demo.json").read_text())
    del kept["rows"][2]
    (out / "demo.json").write_text(json.dumps(kept))
    status, rest, complained = solo_gedi("demo", "--epochs", "1", "--seed", "3")
    assert status == 0, complained
    assert "3 of 3: barlow, about" in rest
    assert "1 of 3: gedi" not in rest
    assert len(list(out.glob("*/*/metrics.json"))) == 4
