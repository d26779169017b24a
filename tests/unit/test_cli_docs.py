"""docs/cli.md says what the program's help says."""

from pathlib import Path

from click.testing import CliRunner
from drqueue.cli.docs import main, render

PAGE = Path(__file__).parents[2] / "docs" / "cli.md"


def test_the_page_is_up_to_date() -> None:
    result = CliRunner().invoke(main, [str(PAGE), "--check"])
    assert result.exit_code == 0, result.output


def test_a_difference_is_noticed_and_mended(tmp_path: Path) -> None:
    page = tmp_path / "docs" / "cli.md"
    assert CliRunner().invoke(main, [str(page), "--check"]).exit_code == 1
    assert CliRunner().invoke(main, [str(page)]).exit_code == 0
    assert CliRunner().invoke(main, [str(page), "--check"]).exit_code == 0
    page.write_text(page.read_text() + "x")
    assert CliRunner().invoke(main, [str(page), "--check"]).exit_code == 1


def test_every_command_has_its_help_and_every_option_a_text() -> None:
    text = render()
    for command in (
        *("session list", "session show", "session create", "session stop", "session continue"),
        *("session delete", "job list", "job show", "job submit", "job stop", "job continue"),
        *("job kill", "job rerun", "job delete", "job logs", "job frames", "job download"),
        *("job watch", "node list", "node drain", "completion bash"),
        *("account list", "account show", "account statement", "quote"),
    ):
        assert f"## drqueue {command}\n" in text
