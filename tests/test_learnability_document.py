"""The figures of docs/learnability.md are those of the committed results."""

import re
from collections.abc import Callable, Sequence

import pytest

from learned import SEEDS, committed
from sources import PROJECT

DOCUMENT = PROJECT / "docs" / "learnability.md"
TABLE = [line for line in DOCUMENT.read_text(encoding="utf-8").splitlines() if line.startswith("|")]


def spread(values: Sequence[float]) -> str:
    """One figure, or the lowest and the highest of several."""
    lowest, highest = min(values), max(values)
    return f"{lowest:.1f}" if lowest == highest else f"{lowest:.1f} to {highest:.1f}"


def row(task: str, kind: str, model: str, figures: str) -> str:
    return f"| {kind} | `{model}` | {figures} | [{task}](../benchmarks/results/learn_{task}.json) |"


def sequences() -> list[str]:
    seeds, rows = committed("sequences"), []
    for name, measured in seeds[0].items():
        if isinstance(measured, dict):
            figures = ", ".join(
                f"{spread([seed[name][task] for seed in seeds])} %" for task in ("copy", "reverse", "sort")
            )
            rows.append(row("sequences", "copy, reverse, sort", name, figures))
    return rows


def scan() -> list[str]:
    seeds, rows = committed("scan"), []
    for name, measured in seeds[0].items():
        if isinstance(measured, dict):
            for split in ("length", "jump"):
                trained, held_out = (
                    spread([seed[name][split][part] for seed in seeds]) for part in ("trained", "held_out")
                )
                figures = f"{held_out} % (of those trained on {trained} %)"
                rows.append(row("scan", f"SCAN, {split} split", name, figures))
    return rows


def sections() -> list[str]:
    seeds = committed("sections")
    first, three, bayes, commonest = (
        spread([seed[name] for seed in seeds]) for name in ("first", "first_three", "naive_bayes", "commonest")
    )
    figures = (
        f"{first} %, among the first three {three} % (naive Bayes {bayes} %, the commonest section {commonest} %)"
    )
    return [row("sections", f"section of a Debian package, of {seeds[0]['sections']}", "seq2vec", figures)]


def reader() -> list[str]:
    seeds = committed("reader")
    right, frequent, exclusive = (
        spread([seed[name] for seed in seeds]) for name in ("right", "most_frequent", "most_frequent_exclusive")
    )
    figures = f"{right} % (most frequent word {frequent} %, most frequent one not asked {exclusive} %)"
    return [row("reader", "cloze questions about Debian packages", "reader", figures)]


def parser() -> list[str]:
    seeds = committed("parser")
    formed, right, f1 = (spread([seed[name] for seed in seeds]) for name in ("well_formed", "right", "f1"))
    figures = f"F1 of brackets {f1}, {formed} % well formed, {right} % right"
    return [row("parser", "syntax trees of Python", "parser", figures)]


def captions() -> list[str]:
    seeds = committed("captions")
    counted, named, right = (
        spread([100 * seed[name] for seed in seeds])
        for name in (
            "scenes_with_the_right_number_of_items",
            "items_of_those_named_rightly",
            "captions_right_as_a_whole",
        )
    )
    figures = f"{named} % of the items, {right} % of whole captions, the number of items {counted} %"
    return [row("captions", "captions of pictures of clothes", "captioner", figures)]


def speech() -> list[str]:
    seeds = committed("speech")
    three, four, new = (
        spread([100 * seed[part]["word_error_rate"] for seed in seeds])
        for part in ("sentences_of_3", "sentences_of_4", "never_heard")
    )
    figures = f"words wrong: {three} % of new sentences of three words, {four} % of four, {new} % of words never heard"
    return [row("speech", f"sentences of {seeds[0]['words']} spoken words", "listener", figures)]


def parity() -> list[str]:
    seeds, rows = committed("parity"), []
    for name, measured in seeds[0].items():
        if isinstance(measured, dict):
            figures = ", ".join(
                f"{spread([seed[name]['accuracy'][length] for seed in seeds])} %" for length in measured["accuracy"]
            )
            rows.append(row("parity", f"parity of {', '.join(measured['accuracy'])} bits", name, figures))
    return rows


def shares(task: str, model: str, measure: str) -> str:
    return f"{spread([100 * seed[model][measure] for seed in committed(task)])} %"


def copy_unseen() -> list[str]:
    figures = "; ".join(
        f"{shares('copy_unseen', model, 'unseen')} of sequences of tokens never seen, "
        f"{shares('copy_unseen', model, 'seen')} of others{how}"
        for model, how in (("pointer", ""), ("without_pointer", ", without the pointer"))
    )
    return [row("copy_unseen", "copy tokens that were never seen", "pointer", figures)]


def stories() -> list[str]:
    figures = "; ".join(
        f"{shares('stories', model, 'two_facts')} of questions that need two facts, "
        f"{shares('stories', model, 'one_fact')} of those that need one{how}"
        for model, how in (("three_hops", ""), ("one_hop", ", with one hop"))
    )
    return [row("stories", "questions about stories", "memory-network", figures)]


def hard_attention() -> list[str]:
    figures = "; ".join(
        f"{shares('hard_attention', kind, 'sequences')} of sequences, "
        f"{shares('hard_attention', kind, 'positions')} of positions by {kind}"
        for kind in ("reinforce", "marginal")
    )
    return [row("hard_attention", "a cipher", "hard-attention", figures)]


def ntm_copy() -> list[str]:
    seeds = committed("ntm_copy")
    ntm, twice = (spread([100 * seed["ntm"]["copied"][length] for seed in seeds]) for length in ("20", "40"))
    lstm = spread([100 * seed["lstm"]["copied"]["20"] for seed in seeds])
    figures = f"20 symbols {ntm} %, twice as many {twice} % (an LSTM 20 symbols {lstm} %)"
    return [row("ntm_copy", "copy beyond the lengths of training", "ntm", figures)]


def ntm_sort() -> list[str]:
    def told(cell: str) -> str:
        return ", ".join(
            f"of {count} items {spread([100 * seed[cell]['sorted'][count]['sequences'] for seed in seeds])} %"
            for count in seeds[0][cell]["sorted"]
        )

    seeds = committed("ntm_sort")
    return [row("ntm_sort", "sort by priorities", "ntm", f"sequences {told('ntm')} (an LSTM {told('lstm')})")]


def ablation() -> list[str]:
    models = [model for seed in committed("ablation") for model in seed["models"]]

    def told(side: str, mixer: str) -> str:
        found = [model for model in models if (model["side"], model["mixer"]) == (side, mixer)]
        losses = [model["loss_per_phone"] for model in found]
        right = spread([100 * model["words_right"] for model in found]) if found else ""
        return f"{right} % (loss {min(losses):.2f} to {max(losses):.2f})" if found else "–"

    return [
        f"| `{mixer}` | {told('encoder', mixer)} | {told('decoder', mixer)} | "
        "[ablation](../benchmarks/results/learn_ablation.json) |"
        for mixer in sorted({model["mixer"] for model in models})
    ]


def bert2rnn() -> list[str]:
    seeds = committed("bert2rnn")
    trained, random = (
        spread([100 * seed[name]["right"] for seed in seeds]) for name in ("pretrained", "from_scratch")
    )
    figures = f"{trained} % (the same model from random weights {random} %)"
    return [
        row("bert2rnn", f"section of a package from {seeds[0]['training_examples']} examples", "bert2rnn", figures)
    ]


TASKS: dict[str, Callable[[], list[str]]] = {
    "sequences": sequences,
    "scan": scan,
    "sections": sections,
    "reader": reader,
    "parser": parser,
    "captions": captions,
    "speech": speech,
    "bert2rnn": bert2rnn,
    "parity": parity,
    "copy_unseen": copy_unseen,
    "stories": stories,
    "hard_attention": hard_attention,
    "ntm_copy": ntm_copy,
    "ntm_sort": ntm_sort,
    "ablation": ablation,
}


@pytest.mark.parametrize("task", TASKS)
def test_the_rows_of_a_task_are_its_results(task):
    found = [line for line in TABLE if f"results/learn_{task}.json" in line]
    assert found == TASKS[task]()


@pytest.mark.parametrize("task", TASKS)
def test_every_task_was_learnt_with_three_seeds(task):
    assert [seed["seed"] for seed in committed(task)] == SEEDS


def test_every_task_with_results_stands_in_the_table():
    told = {*re.findall(r"results/learn_(\w+)\.json", "\n".join(TABLE))}
    assert told >= {path.stem.removeprefix("learn_") for path in (PROJECT / "benchmarks/results").glob("learn_*.json")}
