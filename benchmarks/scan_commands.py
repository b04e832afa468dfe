"""The commands of SCAN and the actions that they mean, from the grammar.

    command  = sentence | sentence "and" sentence | sentence "after" sentence
    sentence = phrase | phrase "twice" | phrase "thrice"
    phrase   = verb | (verb | "turn") ("" | "opposite" | "around") ("left" | "right")
    verb     = "walk" | "look" | "run" | "jump"

Lake and Baroni 2018, Generalization without Systematicity, give the grammar, the meanings and the two splits: every
one of the 20,910 commands is in a split once.
"""

from itertools import product

VERBS = ("walk", "look", "run", "jump")
SIDES = ("left", "right")
REPEATED = {"": 1, "twice": 2, "thrice": 3}
LONGEST_TRAINED = 22

Command = tuple[str, ...]
Actions = tuple[str, ...]
Meanings = dict[Command, Actions]


def phrases() -> Meanings:
    """A verb, perhaps with a direction."""
    found: Meanings = {(verb,): (verb.upper(),) for verb in VERBS}
    for verb, side in product((*VERBS, "turn"), SIDES):
        turn = (f"TURN-{side.upper()}",)
        act = () if verb == "turn" else (verb.upper(),)
        found[verb, side] = turn + act
        found[verb, "opposite", side] = turn + turn + act
        found[verb, "around", side] = (turn + act) * 4
    return found


def commands() -> Meanings:
    """All of them."""
    sentences: Meanings = {
        (*phrase, *([word] if word else [])): actions * times
        for phrase, actions in phrases().items()
        for word, times in REPEATED.items()
    }
    found = dict(sentences)
    for (first, does), (second, then) in product(sentences.items(), sentences.items()):
        found[*first, "and", *second] = does + then
        found[*first, "after", *second] = then + does
    return found


def split_by_length() -> tuple[Meanings, Meanings]:
    """To train on what takes at most 22 actions, to test with what takes more."""
    every = commands()
    short = {command: actions for command, actions in every.items() if len(actions) <= LONGEST_TRAINED}
    return short, {command: actions for command, actions in every.items() if command not in short}


def split_by_primitive(verb: str = "jump") -> tuple[Meanings, Meanings]:
    """To train on the verb alone and what lacks it, to test with what joins it to other words."""
    every = commands()
    known = {command: actions for command, actions in every.items() if verb not in command or command == (verb,)}
    return known, {command: actions for command, actions in every.items() if command not in known}
