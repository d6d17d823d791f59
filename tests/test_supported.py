"""Windows is refused in one line; the metadata says what is supported."""

from importlib.metadata import metadata

import pytest

from mayfly.supported import refuse_unsupported


@pytest.mark.parametrize("platform", ["win32", "cygwin"])
def test_windows_is_refused_in_one_line(platform: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as refused:
        refuse_unsupported(platform)

    said = capsys.readouterr().err
    assert refused.value.code == 2
    assert said.count("\n") == 1
    assert "Windows is not supported" in said


@pytest.mark.parametrize("platform", ["linux", "darwin"])
def test_linux_and_macos_are_accepted(platform: str) -> None:
    refuse_unsupported(platform)


def test_package_metadata_names_no_windows() -> None:
    systems = [c for c in metadata("mayfly").get_all("Classifier", []) if "Operating System" in c]

    assert not any("Windows" in system for system in systems)
