"""Whatever is typed as an override: a composed config, or a ConfigError of one line.

FUZZ=long tries fifty times as many.
"""

import os

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from omegaconf import DictConfig

from solo_gedi.config import as_config, load_config, read_overrides
from solo_gedi.errors import ConfigError

MANY = 50 if os.environ.get("FUZZ") == "long" else 1
QUICK = {
    "deadline": None,
    "derandomize": MANY == 1,
    "suppress_health_check": [HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
}

KEYS = st.sampled_from(
    [
        *("max_epochs", "optimizer.lr", "optimizer", "data.train_path", "augmentations", "method"),
        *("augmentations.0.crop_size", "augmentations.9.x", "augmentations[0]", "method_kwargs"),
        *("a.b.c", "hydra.run.dir", "hydra", "defaults", "", ".", "..", "a..b", "@", "x@y", "0"),
        *("backbone.kwargs.width", "name", "paper.width", "optimizer.lr.x", "seed", "probe.a"),
    ]
)
VALUES = st.one_of(
    st.sampled_from(
        [
            *("", "1", "-1", "1e400", "nan", "null", "true", "[]", "{}", "[1", "{a:", "a,b", "'"),
            *("${a}", "${", "${seed}", "${oc.env:NOPE}", "${oc.env:HOME}", "${a:b}", "???", "~"),
            *("choice(1,2)", "range(1,3)", "glob(*)", "{a: {b: [1, {c: 2}]}}", "\\", "a=b", "\n"),
            *("!!python/object:x", "&a *a", "*a", "{? a}", "[[[[[", "0x1", "0b1", "1_000", "\t"),
        ]
    ),
    st.text(max_size=12),
)
OVERRIDES = st.one_of(
    st.builds("{}{}{}{}".format, st.sampled_from(["", "+", "++", "~"]), KEYS, st.just("="), VALUES),
    st.builds("~{}".format, KEYS),
    st.text(max_size=15),
)


def ends_well(call):
    try:
        found = call()
    except ConfigError as refusal:
        found = str(refusal)
    assert isinstance(found, DictConfig) or found.strip()


@settings(max_examples=40 * MANY, **QUICK)
@given(st.lists(OVERRIDES, min_size=1, max_size=3))
def test_any_overrides_compose_or_are_refused(overrides):
    ends_well(lambda: load_config("toy/gedi", overrides))


@settings(max_examples=400 * MANY, **QUICK)
@given(st.lists(OVERRIDES, min_size=1, max_size=3))
def test_any_changes_are_read_or_refused(overrides):
    ends_well(lambda: read_overrides(overrides))


PLAIN = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8))
TREES = st.recursive(
    PLAIN,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=8,
)


@settings(max_examples=200 * MANY, **QUICK)
@given(st.dictionaries(st.text(max_size=5), TREES, max_size=4))
def test_any_tree_is_a_config_or_refused(tree):
    ends_well(lambda: as_config(tree))
