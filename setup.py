from setuptools import find_namespace_packages, setup

# solo-learn's users look for `scripts` at the top; it is installed inside the package.
SCRIPTS = ["solo_gedi.scripts"]
SCRIPTS += [f"solo_gedi.scripts.{name}" for name in find_namespace_packages("scripts")]

setup(
    packages=find_namespace_packages(include=["solo_gedi*", "hydra_plugins*"]) + SCRIPTS,
    package_dir={"solo_gedi.scripts": "scripts"},
    # Hydra finds plugins by walking the `hydra_plugins` namespace on the import path. setuptools'
    # default editable install hides namespace packages from that walk; "compat" does not.
    options={"editable_wheel": {"mode": "compat"}},
)
