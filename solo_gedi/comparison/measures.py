"""The paper's measures: their values in its tables, and where they are in a run's results."""

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from solo_gedi.evaluation.rows import Row, identity, select


@cache
def paper() -> dict[str, Any]:
    """The paper's Tables 2 and 6 to 10, by this package's config names."""
    return json.loads(Path(__file__).with_name("paper.json").read_text())


class Measure(NamedTuple):
    """A number that the paper reports, and where it is found in a seed's results.

    Attributes:
        name: in the table.
        table: the paper's values, a key of `paper()`.
        where: keys of a row of results and the values that they must have.
    """

    name: str
    table: str
    where: Mapping[str, Any]

    def papers(self, dataset: str) -> dict[str, Any]:
        """The paper's values on a data set, by method.

        Args:
            dataset: name.
        """
        values = paper()[self.table].get(dataset, {})
        return values.get(self.where["against"], {}) if "against" in self.where else values

    def values(self, runs: Sequence[dict[str, Any]]) -> dict[str, list[float]]:
        """Its values in what runs have left, by how they were measured.

        Args:
            runs: metrics of seeds.

        Returns:
            One entry, `""`, if all were measured in one way; else one a way, named by the keys
            that differ. Empty where the task was not done.
        """
        rows = [row for run in runs for row in select(run["results"], **self.where)]
        by_how = alike(rows)
        common = frozenset.intersection(*by_how) if by_how else frozenset()
        return {
            ", ".join(f"{key}={value}" for key, value in sorted(about - common)): [
                row["value"] for row in same
            ]
            for about, same in by_how.items()
        }


def alike(rows: Iterable[Row]) -> dict[frozenset[tuple[str, Any]], list[Row]]:
    """Rows of several runs that differ in their value alone, by what they have in common.

    Args:
        rows: of results.
    """
    found = defaultdict(list)
    for row in rows:
        found[identity(row)].append(row)
    return dict(found)


NMI = Measure("NMI", "nmi", {"task": "clustering", "metric": "nmi", "source": "model"})
# The trivial baseline of images, which is the same for every method.
PIXELS = {"task": "clustering", "metric": "nmi", "source": "pixels"}
# By the paper's score, the norm of the gradient.
_AUROC = {"task": "ood", "metric": "auroc", "score": "neg_grad_norm"}


def measures(runs: Iterable[dict[str, Any]]) -> list[Measure]:
    """What is compared: the paper's measures, detection against each set that a run was tried on.

    Args:
        runs: metrics of seeds.
    """
    rows = [row for run in runs for row in select(run["results"], **_AUROC)]
    return [
        NMI,
        Measure("linear accuracy", "linear_accuracy", {"task": "linear", "metric": "accuracy"}),
        Measure("FID", "fid", {"task": "fid", "metric": "fid"}),
        *(
            Measure(f"OOD AUROC against {other}", "ood_auroc", {**_AUROC, "against": other})
            for other in dict.fromkeys(row["against"] for row in rows)
        ),
    ]
