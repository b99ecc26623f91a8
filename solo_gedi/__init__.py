"""GEDI for solo-learn.

Importing this package changes nothing; `solo_gedi.methods.registration.register` adds the methods and
backbones to the installed solo-learn. `solo_gedi.core` is plain PyTorch and works without it.
"""

from importlib.metadata import version

__version__ = version("solo-gedi")
