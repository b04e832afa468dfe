"""Where an answer begins and ends, and which tokens were read for each bracket of a tree."""

from pathlib import Path

import learn_parser
import learn_reader
import torch
from learning import train
from narrow_presets import narrow
from sequence_pairs import FIRST_SYMBOL, batch_of, batches, generated

from hf_rnnattn import RnnAttnForConditionalGeneration, RnnAttnForQuestionAnswering

from .drawing import Panel
from .looking import attention
from .pronouncing import BUDGET, LAYERS, WIDTH, kept

TOKENS = range(6, 9)  # of the expression that is drawn
QUESTION_STEPS, QUESTIONS_AT_ONCE = 400, 32


def parsing(folder: Path) -> list[Panel]:
    """Which tokens of an expression that training lacked were read for each symbol of its tree, a right one."""
    bank = learn_parser.treebank()

    def make() -> RnnAttnForConditionalGeneration:
        model = narrow("parser", width=WIDTH, layers=LAYERS, vocab_size=FIRST_SYMBOL + len(bank.symbols))
        given = batches(bank.pairs(bank.training), BUDGET["batch_size"], 0)
        train(model, given, steps=BUDGET["steps"], learning_rate=learn_parser.BUDGET["learning_rate"])
        return model

    model = kept("parser", folder, RnnAttnForConditionalGeneration, make)
    sentences = [sentence for sentence in bank.testing if len(sentence) in TOKENS and len(set(sentence)) > 4][:50]
    pairs = bank.pairs(sentences)
    told = generated(model, pairs)
    chosen = [row == list(tree) for row, (_, tree) in zip(told, pairs, strict=True)].index(True)
    source, written = pairs[chosen][0], told[chosen]
    batch = batch_of([(source, written)])
    symbols = [*bank.tree_of(written), "·"]
    return [Panel(attention(model, batch)[-1].mean(0), symbols, list(sentences[chosen]), "", "written", "read")]


def reading(folder: Path) -> list[Panel]:
    """The probability of the answer's first and last piece at each piece of a text that training lacked."""
    parts, _, vocabulary = learn_reader.data()

    def make() -> RnnAttnForQuestionAnswering:
        model = narrow("reader", width=WIDTH, layers=LAYERS, vocab_size=vocabulary)
        given = parts["train"].batches(QUESTIONS_AT_ONCE, 0)
        train(model, given, steps=QUESTION_STEPS, learning_rate=learn_reader.BUDGET["learning_rate"])
        return model

    model, asked = kept("reader", folder, RnnAttnForQuestionAnswering, make), parts["test"]
    right = [found == each.answer for found, each in zip(asked.answers(model), asked.questions, strict=True)]
    lengths = [len(each.text.split()) for each in asked.questions]
    chosen = min((length, i) for i, (length, is_right) in enumerate(zip(lengths, right, strict=True)) if is_right)[1]
    batch = asked.batch([chosen])
    with torch.no_grad():
        output = model(**{name: batch[name] for name in ("input_ids", "attention_mask", "token_type_ids")})
    places, text = asked.places[chosen], asked.questions[chosen].text
    pieces = [i for i, (a, b) in enumerate(places) if asked.segments[chosen][i] and b > a]
    odds = torch.stack([output.start_logits[0], output.end_logits[0]]).softmax(-1)[:, pieces]
    names = [text[slice(*places[i])] for i in pieces]
    return [Panel(odds, ["begins", "ends"], names, asked.questions[chosen].question)]
