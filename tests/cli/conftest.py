import re

import pytest


def contents(folder):
    return {path: path.is_file() and path.read_bytes() for path in folder.rglob("*")}


@pytest.fixture
def solo_gedi(capsys):
    """Runs a command in this process: its exit status and what it printed."""
    from solo_gedi.cli import main

    def run(*command):
        try:
            status = main([str(part) for part in command])
        except SystemExit as ended:  # argparse's, after its help
            status = ended.code
        output = capsys.readouterr()
        return status or 0, output.out, output.err

    return run


@pytest.fixture
def refused(solo_gedi, tmp_path):
    """Runs a command that must end as a user's error does, and returns its message."""

    def run(*command):
        before = contents(tmp_path)
        status, _, output = solo_gedi(*command)
        assert status == 2, output
        assert "Traceback" not in output
        _, *errors = re.split(r"^solo-gedi.*?: error: ", output, flags=re.M)
        assert len(errors) == 1, output
        message = errors[0].strip()
        assert 1 <= len(message.splitlines()) <= 3, message
        assert contents(tmp_path) == before, "nothing may be overwritten or left behind"
        return message

    return run


@pytest.fixture
def named():
    """The argument that names a shipped config."""
    return lambda name="gedi", suite="digits": [f"{suite}/{name}"]
