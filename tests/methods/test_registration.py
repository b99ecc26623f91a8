import warnings
from dataclasses import replace

import pytest

from solo_gedi import hosts
from solo_gedi.backbones import BACKBONES
from solo_gedi.data import DATASETS
from solo_gedi.methods import GEDI, JEM, METHODS, register


def test_solo_learn_knows_what_is_registered_however_often_that_is():
    register()
    methods, backbones = dict(hosts.METHODS), dict(hosts.BACKBONES)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        register()
    assert methods == hosts.METHODS
    assert backbones == hosts.BACKBONES
    assert methods.items() >= METHODS.items()
    assert backbones.items() >= BACKBONES.items()
    assert all(hosts.has_dataset(name) for name in DATASETS)


def test_a_method_or_backbone_of_the_same_name_is_replaced_with_a_warning(monkeypatch):
    register()
    monkeypatch.setitem(hosts.METHODS, "gedi", object)
    with pytest.warns(UserWarning, match="already has a method 'gedi'") as caught:
        register()
    assert len(caught) == 1
    assert hosts.METHODS["gedi"] is GEDI
    monkeypatch.setitem(hosts.BACKBONES, "mlp", lambda method, **kwargs: None)
    with pytest.warns(UserWarning, match="already has a backbone 'mlp'"):
        register()
    assert hosts.BACKBONES["mlp"] is BACKBONES["mlp"]


def test_a_data_set_that_solo_learn_has_is_replaced_with_a_warning(monkeypatch):
    register()
    monkeypatch.setitem(DATASETS, "cifar10", replace(DATASETS["svhn"], num_classes=10))
    with pytest.warns(UserWarning, match="already has a data set 'cifar10'"):
        register()


def test_methods_say_what_they_have():
    assert GEDI.has_energy
    assert JEM.has_energy
    assert not any(
        getattr(method, "has_energy", False)
        for name, method in hosts.METHODS.items()
        if name not in METHODS
    )
