"""Makes solo-learn's own main_pretrain.py and main_linear.py know `gedi` and its configs.

Hydra imports this module before it calls `main()`, in every program on the machine: a program
that has imported neither solo-learn nor solo-gedi pays for nothing but the import of this file.
"""

import sys
import warnings
from pathlib import Path

from hydra.core.config_search_path import ConfigSearchPath
from hydra.plugins.search_path_plugin import SearchPathPlugin


class SoloGEDIPlugin(SearchPathPlugin):
    """Shows Hydra the lines that our configs share, and registers us with solo-learn."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        """Called by Hydra, perhaps more than once, where a program composes its configs.

        Adds the folder in which the configs find `/shared/...`, if the program has imported
        solo-gedi or solo-learn; registers our methods, if it has imported solo-learn.
        """
        if not {"solo.methods", "solo_gedi"} & sys.modules.keys():
            return
        try:
            from solo_gedi.config.shipped import config_roots

            paths = [e.path for e in search_path.get_path() if e.provider == "main"]
            for root in config_roots(Path("".join(paths).removeprefix("file://"))):
                search_path.append("solo-gedi", f"file://{root}")
            if "solo.methods" in sys.modules:
                from solo_gedi.methods.registration import register

                register()
        except Exception as error:  # Hydra would hide it, or end a program that does not need us
            warnings.warn(f"solo-gedi could not register with solo-learn: {error}", stacklevel=2)
