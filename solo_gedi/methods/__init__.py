"""GEDI and JEM as solo-learn methods."""

from solo_gedi.methods.chains import normalization_of, sample_space
from solo_gedi.methods.gedi import GEDI
from solo_gedi.methods.jem import JEM
from solo_gedi.methods.registration import register

METHODS = {"gedi": GEDI, "jem": JEM}

__all__ = ["GEDI", "JEM", "METHODS", "normalization_of", "register", "sample_space"]
