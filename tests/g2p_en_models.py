"""Models of g2p-en for the tests: random weights in the package's arrays, and its formulas as a naive loop."""

from pathlib import Path

import numpy as np

FOLDER = Path(__file__).parent / "fixtures" / "g2p_en"
LETTERS, PHONES = 29, 74  # of the package's vocabularies
START, END, LONGEST = 2, 3, 20


def random_weights(seed=0, hidden=8, embedding=6):
    """Arrays of the package's names; the two sides differ, and so do the two widths."""
    draw = np.random.default_rng(seed)
    shapes = {"fc_w": (PHONES, hidden), "fc_b": (PHONES,)}
    for side, size in (("enc", LETTERS), ("dec", PHONES)):
        shapes[f"{side}_emb"] = (size, embedding)
        shapes[f"{side}_w_ih"], shapes[f"{side}_w_hh"] = (3 * hidden, embedding), (3 * hidden, hidden)
        shapes[f"{side}_b_ih"] = shapes[f"{side}_b_hh"] = (3 * hidden,)
    weights = {name: draw.normal(size=shape, scale=1.2).astype(np.float32) for name, shape in shapes.items()}
    weights["fc_b"][END] += 1.5  # so that some answers end
    return weights


def naive_step(weights, side, token, h):
    """One step of a GRU in float64: gates in the order reset, update, candidate."""
    w = {name: values.astype(float) for name, values in weights.items()}
    entering = w[f"{side}_w_ih"] @ w[f"{side}_emb"][token] + w[f"{side}_b_ih"]
    recurrent = w[f"{side}_w_hh"] @ h + w[f"{side}_b_hh"]
    (r_in, z_in, n_in), (r_h, z_h, n_h) = np.split(entering, 3), np.split(recurrent, 3)
    r, z = 1 / (1 + np.exp(-(r_in + r_h))), 1 / (1 + np.exp(-(z_in + z_h)))
    return (1 - z) * np.tanh(n_in + r * n_h) + z * h


def naive_logits(weights, letters, phones):
    """(T, 74): the logits after the start and after each of these phones; ``letters`` end with their end token."""
    h = np.zeros(weights["enc_w_hh"].shape[1])
    for token in letters:
        h = naive_step(weights, "enc", token, h)
    logits = []
    for token in (START, *phones):
        h = naive_step(weights, "dec", token, h)
        logits.append(weights["fc_w"].astype(float) @ h + weights["fc_b"])
    return np.stack(logits)


def naive_phones(weights, letters):
    """The greedy answer: at most 20 phones, without the end."""
    phones = []
    while len(phones) < LONGEST:
        best = int(naive_logits(weights, letters, phones)[-1].argmax())
        if best == END:
            break
        phones.append(best)
    return phones
