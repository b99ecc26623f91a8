"""Makes solo-learn's own main_pretrain.py and main_linear.py know `gedi`.

Hydra imports this module before it calls `main()`, in every program on the machine: a program
that has not imported solo-learn pays for nothing but the import of this file.
"""

import sys
import warnings

from hydra.core.config_search_path import ConfigSearchPath
from hydra.plugins.search_path_plugin import SearchPathPlugin


class SoloGEDIPlugin(SearchPathPlugin):
    """Registers this package with solo-learn, if the program has imported it."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        """Called by Hydra, perhaps more than once; adds nothing to the search path."""
        if "solo.methods" not in sys.modules:
            return
        try:
            from solo_gedi.methods.registration import register

            register()
        except Exception as error:  # Hydra would hide it, or end a program that does not need us
            warnings.warn(f"solo-gedi could not register with solo-learn: {error}", stacklevel=2)
