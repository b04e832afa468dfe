"""docs/marian.md: its table of options is the importer's, its numbers are those of the committed results."""

import json

import pytest

from hf_rnnattn.convert.marian_options import RULES
from sources import PROJECT

DOCUMENT = (PROJECT / "docs" / "marian.md").read_text(encoding="utf-8")
TEXT = " ".join(DOCUMENT.split())
RESULTS = json.loads((PROJECT / "benchmarks/results/marian_tools.json").read_text(encoding="utf-8"))["results"]


def test_every_rule_of_the_importer_is_a_row_of_the_table():
    rows = []
    for option, rule in RULES.items():
        default = "unset" if rule.default in ("", []) else f"`{rule.default}`"
        rows.append(f"| `{option}` | {default} | {rule.wanted} |")
    table = DOCUMENT.partition("| option |")[2].partition("\n\n")[0]
    assert table.splitlines()[2:] == rows


def expected() -> list[str]:
    time, built = RESULTS["time with a shortlist"], RESULTS["shortlist of the sentences"]
    aligned = min(result["identical"] for result in RESULTS["alignments as Marian's"].values())
    export, kept = RESULTS["8-bit export"], RESULTS["8-bit weights kept"]
    ours, theirs = (export[f"{kind} against float32"] for kind in ("measured multipliers", "the original file"))
    return [
        f"{time['against']['all pieces']['ratio']:.2f} of the time with {time['candidates']:,} of {time['pieces']:,}",
        f"built of the {built['texts']} sentences of the tests and their translations, {built['identical']} of them",
        f"the alignments of {aligned} of the {built['texts']} translations recorded",
        f"(at most {kept['largest_difference_of_logits']:.0e} on the sentences of the tests)",
        f"{ours['identical']} of {ours['texts']} are the same with multipliers measured",
        f"{theirs['identical']} with those that the student came with",
    ]


@pytest.mark.parametrize("claim", expected())
def test_numbers_are_those_that_were_measured(claim):
    assert claim in TEXT
