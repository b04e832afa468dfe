"""What is asked about Debian's packages is asked as told, and no family is on both sides."""

import shutil

import pytest
from cloze_questions import common_words, most_frequent, question_of
from debian_descriptions import Description, descriptions, lists, release

from learned import SEEDS, committed, learn

needs_lists = pytest.mark.skipif(shutil.which("apt-get") is None, reason="Debian's lists are fetched with apt-get")

STANZA = """Package: {name}
Source: {source} (1.0)
Section: {section}
Description-md5: {number}
"""
TRANSLATION = """Package: {name}
Description-md5: {number}
Description-en: tool number {number}
 It does {number} things.
 .
  * a list
 .
 And more.
"""


def write_lists(folder, count=200):
    """The lists of packages of two to a family."""
    rows = [
        {"name": f"p{i}", "source": f"family{'abcdefghij'[i // 20]}{'abcdefghij'[i // 2 % 10]}{i % 2}"}
        for i in range(count)
    ]
    rows = [{**row, "number": i, "section": "contrib/net" if i % 2 else "libs"} for i, row in enumerate(rows)]
    for name, text in (("Packages", STANZA), ("i18n_Translation-en", TRANSLATION)):
        stanzas = [text.format(**row) for row in [*rows, rows[0]]]
        (folder / f"debian_main_{name}").write_text("\n".join(stanzas), encoding="utf-8")


def test_descriptions_are_split_by_family(tmp_path):
    write_lists(tmp_path)
    parts = descriptions(tmp_path)
    assert sum(map(len, parts.values())) == 200  # the one that is there twice is taken once
    assert 0 < len(parts["test"]) < 50
    assert not {each.family for each in parts["train"]} & {each.family for each in parts["test"]}
    assert {each.section for each in parts["train"]} == {"libs", "net"}
    one = min(parts["train"], key=lambda each: len(each.long))
    assert one.long == f"It does {one.short.split()[-1]} things. And more."
    assert len(release(tmp_path)["files"]) == 2


def test_without_lists_and_apt_it_is_said_what_is_missing(tmp_path, monkeypatch):
    monkeypatch.setenv("DEBIAN_LISTS", str(tmp_path))
    monkeypatch.setenv("PATH", "")
    with pytest.raises(OSError, match=r"holds no lists of Debian, and there is no apt-get"):
        lists()
    write_lists(tmp_path)
    assert lists() == tmp_path


def test_a_question_blanks_a_word_that_the_text_holds():
    package = Description("aterm", "x11", "Terminal emulator for X, a terminal", "This is an Emulator. An emulator!")
    asked = question_of(package, {"this"}, 40)
    assert asked.question == "terminal _ for x, a terminal"
    assert asked.answer == "emulator"
    assert asked.text[asked.place :].startswith("emulator. an")
    assert question_of(package, {"this", "emulator"}, 40) is None
    assert question_of(package, set(), 3) is None  # the word comes later


def test_the_words_compared_with_are_the_most_frequent_ones():
    package = Description("x", "net", "Gopher daemon", "A gopher server. Server of gopher, server. With a daemon")
    asked = question_of(package, {"with"}, 40)
    assert asked.answer == "daemon"
    assert most_frequent(asked, {"with"}, exclusive=False) == "server"
    assert most_frequent(asked, {"server"}, exclusive=False) == "gopher"
    assert most_frequent(asked, {"server"}, exclusive=True) == "with"
    assert "a" in common_words([package])


def sections_told(measured):
    return measured["first"] > 4 * measured["commonest"] and measured["first_three"] > measured["first"]


def questions_answered(measured):
    return measured["right"] > measured["most_frequent"] + 5.0


@pytest.mark.parametrize(("task", "learnt"), [("sections", sections_told), ("reader", questions_answered)])
def test_committed_results_beat_what_needs_no_reading(task, learnt):
    assert [measured["seed"] for measured in committed(task)] == SEEDS
    for measured in committed(task):
        assert learnt(measured), measured


def test_committed_readers_beat_the_better_word_count_too():
    for measured in committed("reader"):
        assert measured["right"] > measured["most_frequent_exclusive"] > measured["most_frequent"], measured


@pytest.mark.slow
@needs_lists
@pytest.mark.parametrize(("task", "learnt"), [("sections", sections_told), ("reader", questions_answered)])
def test_models_learn_to_read_descriptions(task, learnt, tmp_path):
    """Takes minutes, and some seconds of network where the lists are not there yet."""
    measured = learn(task, tmp_path)
    assert learnt(measured), measured
