from setuptools import setup

# Hydra finds plugins by walking the `hydra_plugins` namespace on the import path. setuptools'
# default editable install hides namespace packages from that walk; "compat" does not.
setup(options={"editable_wheel": {"mode": "compat"}})
