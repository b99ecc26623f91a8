import re
import sys

import pytest


def contents(folder):
    return {path: path.is_file() and path.read_bytes() for path in folder.rglob("*")}


@pytest.fixture
def refused(monkeypatch, capsys, tmp_path):
    """Runs a command that must end as a user's error does, and returns its message."""
    from solo_gedi.cli import main

    def run(*command):
        before = contents(tmp_path)
        monkeypatch.setattr(sys, "argv", ["solo-gedi", *map(str, command)])
        with pytest.raises(SystemExit) as ended:
            main()
        output = capsys.readouterr().err
        assert ended.value.code == 2, output
        assert "Traceback" not in output
        warnings, *errors = re.split(r"^solo-gedi.*?: error: ", output, flags=re.M)
        assert len(errors) == 1, output
        message = errors[0].strip()
        assert 1 <= len(message.splitlines()) <= 3, message
        assert contents(tmp_path) == before, "nothing may be overwritten or left behind"
        return message

    return run


@pytest.fixture
def named(scripts):
    """The options that name a shipped config."""

    def options(name="gedi", suite="digits", kind="pretrain"):
        return ["--config-path", str(scripts / kind / suite), "--config-name", name]

    return options
