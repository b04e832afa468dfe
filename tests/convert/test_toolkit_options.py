"""Options of other toolkits, and that the documentation names each that may be refused."""

import re

import pytest

from hf_rnnattn.convert import eole, joeynmt, opennmt
from hf_rnnattn.convert.toolkit_options import Rule, agree, check_options, flag, number, option
from sources import PROJECT

OPTIONS = {"model": {"encoder": {"type": "cnn"}, "layers": 2}, "feed": 1, "tags": []}


def test_dots_lead_into_nested_options():
    assert option(OPTIONS, "model.encoder.type") == "cnn"
    assert option(OPTIONS, "model.decoder.type", "rnn") == "rnn"
    assert option(OPTIONS, "feed.type", "none") == "none"


def test_a_rule_names_the_option_its_value_and_whether_it_is_the_default():
    rules = [Rule("model.encoder.type", "rnn", ("rnn",), "only rnn is read")]
    with pytest.raises(ValueError, match=r"^model\.encoder\.type is 'cnn' in m\.pt: only rnn is read$"):
        check_options(OPTIONS, rules, "m.pt")
    check_options({}, rules, "m.pt")
    with pytest.raises(ValueError, match=r"type is 'rnn' \(the toolkit's default\) in"):
        check_options({}, [rules[0]._replace(values=("gru",))], "m.pt")


@pytest.mark.parametrize("empty", [None, [], {}, "", ()])
def test_what_is_empty_is_none(empty):
    check_options({"tags": empty}, [Rule("tags", None, (None,), "no tags")], "m.pt")


@pytest.mark.parametrize("full", [["de"], "de", {"a": 1}, 0, False])
def test_what_is_not_empty_is_not_none(full):
    with pytest.raises(ValueError, match="tags is"):
        check_options({"tags": full}, [Rule("tags", None, (None,), "no tags")], "m.pt")


def test_numbers_and_flags_are_what_they_say():
    assert number(OPTIONS, "model.layers", 1, "m.pt") == 2
    assert flag(OPTIONS, "feed", False, "m.pt") is True
    for value in (True, 0, -1, "2", 2.0, None, 2**16 + 1):
        with pytest.raises(ValueError, match=r"n must be an integer in \[1, 65536\], got"):
            number({"n": value}, "n", 1, "m.pt")
    for wrong in ("yes", 2, None):
        with pytest.raises(ValueError, match="f must be true or false, got"):
            flag({"f": wrong}, "f", False, "m.pt")


def test_several_options_must_agree():
    assert agree({"a": 1}, ["a", "b"], 1, "m.pt", "one width") == 1
    with pytest.raises(ValueError, match=r"one width, got a 1, b 2 in m\.pt"):
        agree({"a": 1, "b": 2}, ["a", "b"], 1, "m.pt", "one width")


@pytest.mark.parametrize(
    ("section", "rules"),
    [("JoeyNMT", joeynmt.RULES), ("OpenNMT-py", opennmt.RULES), ("eole", eole.EOLE_RULES)],
)
def test_the_documentation_names_every_option_that_may_be_refused(section, rules):
    pages = (PROJECT / "docs" / "toolkits.md").read_text(encoding="utf-8")
    text = pages.partition(f"\n## {section}\n")[2].partition("\n## ")[0]
    named = {word.partition(":")[0] for word in re.findall(r"`([^`]+)`", text)}
    assert {rule.key for rule in rules} <= named
