"""Expressions of Python's standard library and their syntax trees, as sequences of symbols.

A sentence is the tokens of an expression; names, numbers and strings are just that. Its tree is written as Vinyals et
al. 2015 write theirs: an opening and a closing bracket with the label of each node, and one leaf for each token, all
leaves alike: ``name . name ( number )`` is ``(Call (Attribute _ _ _ )Attribute _ _ _ )Call``. A node of one token has
no brackets. Labels are the names of the node's class in ``ast``.
"""

import ast
import io
import keyword
import sysconfig
import tokenize
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

LEAF = "_"
LETTERS_A_TOKEN = 12  # longer expressions are taken to have too many tokens, and not read
SKIPPED_TOKENS = {
    tokenize.NL,
    tokenize.NEWLINE,
    tokenize.COMMENT,
    tokenize.ENDMARKER,
    tokenize.INDENT,
    tokenize.DEDENT,
}
SKIPPED_FOLDERS = {"site-packages", "dist-packages", "test", "tests", "idlelib", "lib2to3", "__pycache__"}

Sentence = tuple[str, ...]
Tree = tuple[str, ...]
Bracket = tuple[str, int, int]  # label, first token, the one after the last
Place = tuple[int, int]


def standard_library(shortest: int, longest: int) -> dict[Sentence, Tree]:
    """Every expression of the library with so many tokens, each sentence once.

    Expressions with formatted strings are left out, since versions of Python read them differently, and so are the
    library's own tests.
    """
    root = Path(sysconfig.get_paths()["stdlib"])
    segments: set[str] = set()
    for path in root.rglob("*.py"):
        text = path.read_text(encoding="utf-8", errors="replace")
        if text.isascii() and not SKIPPED_FOLDERS & {*path.relative_to(root).parts}:
            segments.update(_expressions_of(text))
    found: dict[Sentence, Tree] = {}
    for segment in segments:
        if len(segment) <= LETTERS_A_TOKEN * longest:
            sentence, tree = parse(segment)
            if shortest <= len(sentence) <= longest:
                found[sentence] = tree
    return found


def _expressions_of(text: str) -> Iterator[str]:
    """The texts of the expressions of a module; none if this Python cannot read it, as examples of others' syntax."""
    try:
        module = ast.parse(text)
    except SyntaxError:
        return
    lines = text.split("\n")
    for node in _expressions(module):
        yield _segment(lines, node)


def _expressions(tree: ast.AST) -> Iterator[ast.expr]:
    """The expressions that stand alone: not those inside others, nor those with formatted strings."""
    for child in ast.iter_child_nodes(tree):
        if not isinstance(child, ast.expr):
            yield from _expressions(child)
        elif not any(isinstance(node, ast.JoinedStr) for node in ast.walk(child)):
            yield child


def _segment(lines: Sequence[str], node: ast.expr) -> str:
    first, last = node.lineno - 1, (node.end_lineno or node.lineno) - 1
    text = [*lines[first : last + 1]]
    text[-1] = text[-1][: node.end_col_offset]
    text[0] = text[0][node.col_offset :]
    return "\n".join(text)


def parse(expression: str) -> tuple[Sentence, Tree]:
    """The sentence of an expression and its tree.

    Raises:
        SyntaxError: it is none.
    """
    wrapped = f"({expression}\n)"  # lines may be broken inside
    body = ast.parse(wrapped, mode="eval").body
    tokens = [t for t in tokenize.generate_tokens(io.StringIO(wrapped).readline) if t.type not in SKIPPED_TOKENS]
    first, *tokens, last = tokens
    starts = {token.start: number for number, token in enumerate(tokens)} | {first.start: 0}
    ends = {token.end: number for number, token in enumerate(tokens, 1)} | {last.end: len(tokens)}
    brackets = [(label, starts[start], ends[end]) for label, start, end in _nodes(body)]
    return tuple(_symbol(token) for token in tokens), _written(brackets, len(tokens))


def _nodes(node: ast.AST) -> Iterator[tuple[str, Place, Place]]:
    """Label, start and end of the node and of all inside it, from the outside in; some nodes have no place."""
    if isinstance(node, ast.expr | ast.keyword | ast.arg):
        end = (node.end_lineno or node.lineno, node.end_col_offset or 0)
        yield type(node).__name__, (node.lineno, node.col_offset), end
    for child in ast.iter_child_nodes(node):
        yield from _nodes(child)


def _symbol(token: tokenize.TokenInfo) -> str:
    kinds = {tokenize.NUMBER: "number", tokenize.STRING: "string"}
    name = token.type == tokenize.NAME and not keyword.iskeyword(token.string)
    return "name" if name else kinds.get(token.type, token.string)


def _written(brackets: Sequence[Bracket], length: int) -> Tree:
    """The tree as symbols."""
    wide = [bracket for bracket in brackets if bracket[2] - bracket[1] > 1]
    tree: list[str] = []
    for place in range(length + 1):
        tree += [f"){label}" for label, _, end in reversed(wide) if end == place]
        tree += [f"({label}" for label, start, _ in wide if start == place]
        tree += [LEAF] * (place < length)
    return tuple(tree)


def brackets_of(tree: Sequence[str], length: int) -> Counter[Bracket] | None:
    """The brackets of a written tree over so many tokens; None if it is not well formed.

    It is if each bracket closes the last one that is open, all are closed, they hold one tree, and it has that many
    leaves.
    """
    opened: list[tuple[str, int]] = []
    found: Counter[Bracket] = Counter()
    leaves = 0
    for number, symbol in enumerate(tree):
        if number and not opened:
            return None
        if symbol == LEAF:
            leaves += 1
        elif symbol.startswith("("):
            opened.append((symbol[1:], leaves))
        elif symbol.startswith(")") and opened and opened[-1][0] == symbol[1:]:
            label, start = opened.pop()
            found[label, start, leaves] += 1
        else:
            return None
    return found if tree and not opened and leaves == length else None


def f1(trees: Sequence[tuple[Sequence[str], Sequence[str]]], lengths: Sequence[int]) -> float:
    """F1 of the brackets of written trees, each with the right one, all together; one not well formed has none."""
    matched = guessed = right = 0
    for (written, correct), length in zip(trees, lengths, strict=True):
        ours = brackets_of(written, length) or Counter()
        theirs = brackets_of(correct, length) or Counter()
        matched += sum((ours & theirs).values())
        guessed += sum(ours.values())
        right += sum(theirs.values())
    return 2 * matched / (guessed + right)
