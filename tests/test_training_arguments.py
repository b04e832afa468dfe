"""Arguments come from the command line, a file, or both; wrong ones are named."""

import json
from pathlib import Path

import pytest

from hf_rnnattn.training_arguments import parse_arguments, parse_overrides

SETTINGS = {
    "output_dir": "out",
    "use_cpu": True,
    "learning_rate": "1e-3",  # YAML reads 1e-3 as text
    "lr_scheduler_type": "cosine",
    "metrics": "per",
    "max_steps": 7,
    "lr_scheduler_kwargs": None,
}


def as_yaml(values: dict) -> str:
    return "".join(f"{name}: {'' if value is None else value}\n" for name, value in values.items())


@pytest.mark.parametrize(("suffix", "text"), [(".yaml", as_yaml(SETTINGS)), (".json", json.dumps(SETTINGS))])
def test_file_and_flags_after_it(tmp_path: Path, suffix: str, text: str) -> None:
    file = tmp_path / f"run{suffix}"
    file.write_text(text)
    arguments = parse_arguments([str(file), "--max_steps", "5", "--metrics", "wer", "per"])
    assert arguments.training.learning_rate == 1e-3
    assert arguments.training.lr_scheduler_type == "cosine"
    assert arguments.training.max_steps == 5
    assert arguments.data.metrics == ["wer", "per"]
    assert parse_arguments([str(file)]).data.metrics == ["per"]
    assert arguments.command == (str(file), "--max_steps", "5", "--metrics", "wer", "per")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("learning_rat: 1\n", "no such argument: learning_rat"),
        ("- a\n", "must hold names and values, got list"),
        ("a: [\n", "is not valid"),
        ("!!python/object/apply:os.getcwd []\n", "is not valid"),
    ],
)
def test_wrong_file_is_refused_in_one_line(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "run.yaml"
    file.write_text(text)
    with pytest.raises(ValueError, match=message) as caught:
        parse_arguments([str(file)])
    assert "\n" not in str(caught.value)
    assert str(file) in str(caught.value)


@pytest.mark.parametrize(
    ("flags", "named"), [(["--learning_rat", "1"], "learning_rat"), (["--max_steps", "x"], "'x'")]
)
def test_unusable_flags_leave_with_the_status_of_a_usage_error(flags: list[str], named: str, capsys) -> None:
    with pytest.raises(SystemExit) as caught:
        parse_arguments(flags)
    assert caught.value.code == 2
    assert named in capsys.readouterr().err


def test_overrides_are_read_as_values() -> None:
    text = "hidden_size=256, encoder_mixers=[gru,gru+full_attention],dropout=1e-1,residual=false,norm_position=none"
    assert parse_overrides(text) == {
        "hidden_size": 256,
        "encoder_mixers": ["gru", "gru+full_attention"],
        "dropout": 0.1,
        "residual": False,
        "norm_position": "none",
    }
    assert parse_overrides("") == {}


@pytest.mark.parametrize("text", ["hidden_size", "=3", "a b=3", "a={", "a=!!python/name:os.system"])
def test_overrides_that_are_no_values_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="config_overrides"):
        parse_overrides(text)
