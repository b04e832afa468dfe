"""Greedy and beam search over exported graphs: numpy and onnxruntime, nothing else of this package and no torch.

The file can be copied to where it is needed. It reads a folder that ``scripts/export_onnx.py`` wrote, and decodes what
``generate()`` of the model decodes, token for token.
"""

import json
import os
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Named = dict[str, Array]

UNLIKELY = np.float32(-1e9)  # the score of what must not be chosen, as in transformers


class Generated(NamedTuple):
    """What was generated.

    sequences: (rows, length) int64, the start token first; with ``num_return_sequences`` n, n rows a source.
    scores: (rows,) float32: the log-probability of a sequence, divided by its length to the power of the length
        penalty; None of greedy search.
    """

    sequences: Array
    scores: Array | None


class OnnxSeq2Seq:
    """An exported model.

    Args:
        folder: with encoder.onnx, decoder_step.onnx and graphs.json.
        threads: of onnxruntime for one operation; None: as many as it likes.
        providers: onnxruntime's execution providers, best first.

    Raises:
        ImportError: onnxruntime is missing.
        OSError: a file is missing.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        *,
        threads: int | None = None,
        providers: tuple[str, ...] = ("CPUExecutionProvider",),
    ) -> None:
        try:
            import onnxruntime
        except ImportError as error:
            raise ImportError("running ONNX files needs onnxruntime: pip install onnxruntime") from error
        options = onnxruntime.SessionOptions()
        if threads is not None:
            options.intra_op_num_threads = threads
        path = Path(folder)
        self.description: dict[str, Any] = json.loads((path / "graphs.json").read_text(encoding="utf-8"))
        files = ("encoder.onnx", "decoder_step.onnx")
        for file in files:
            if not (path / file).is_file():
                raise OSError(f"no file named {file} in {path}")
        self.encoder, self.decoder_step = (
            onnxruntime.InferenceSession(path / file, options, providers=list(providers)) for file in files
        )
        ids = self.description["special_ids"]
        self.eos = [] if ids["eos"] is None else [ids["eos"]] if isinstance(ids["eos"], int) else ids["eos"]
        self.start, self.pad = ids["decoder_start"], ids["pad"]
        if self.pad is None:  # needed behind a sequence that has ended only
            self.pad = self.eos[0] if self.eos else 0
        self.step_inputs = {spec["name"] for spec in self.description["decoder_step.onnx"]["inputs"]}

    def encode(self, input_ids: Array, attention_mask: Array) -> Named:
        """(B, S) each -> the mask, and what the first decoder step takes of the encoder, by name."""
        outputs = self._run(self.encoder, {"input_ids": input_ids, "attention_mask": attention_mask})
        return {"attention_mask": attention_mask, **{n: a for n, a in outputs.items() if n in self.step_inputs}}

    def step(self, tokens: Array, position: int, state: Named) -> tuple[Array, Named]:
        """The next token's logits (B, V) after ``tokens`` (B,) at ``position``, and the state after it."""
        inputs = {**state, "input_ids": tokens[:, None]}
        if "position_ids" in self.step_inputs:
            inputs["position_ids"] = np.full((len(tokens), 1), position, dtype=np.int64)
        outputs = self._run(self.decoder_step, inputs)
        kept = {name: outputs[after] for name, after in self.description["states"].items()}
        return outputs["logits"], {**state, **kept}

    @staticmethod
    def _run(session: Any, inputs: Named) -> Named:
        names = [output.name for output in session.get_outputs()]
        return dict(zip(names, session.run(names, inputs), strict=True))

    def generate(
        self,
        input_ids: Array,
        attention_mask: Array | None = None,
        *,
        max_new_tokens: int,
        num_beams: int = 1,
        num_return_sequences: int = 1,
        length_penalty: float = 1.0,
        early_stopping: bool | str = False,
    ) -> Generated:
        """Greedy search, or beam search with ``num_beams`` of 2 and more.

        Args:
            input_ids: (B, S) integers.
            attention_mask: (B, S), non-zero for real tokens; None if all are real.
            max_new_tokens: where sequences are cut that have not ended.
            num_return_sequences: how many sequences a source, best first; at most ``num_beams``.
            length_penalty: above 0, longer sequences are preferred.
            early_stopping: as in transformers. True stops at ``num_beams`` ended sequences; False when the most likely
                open one cannot beat them at its present length; "never" when it cannot at any length.

        Raises:
            ValueError: shapes that do not fit, or a number out of bounds.
        """
        if not 1 <= num_return_sequences <= num_beams:
            bounds = f"from 1 to num_beams ({num_beams})"
            raise ValueError(f"num_return_sequences must be {bounds}, got {num_return_sequences}")
        state = self.encode(*self._checked(input_ids, attention_mask, max_new_tokens))
        if num_beams == 1:
            return Generated(self._greedy(state, max_new_tokens), None)
        search = BeamSearch(
            (len(input_ids), num_beams, max_new_tokens),
            eos=self.eos,
            # transformers takes a pad of 0 for none here, and fills up with the end of the sequence
            filler=self.pad or (self.eos[0] if self.eos else 0),
            length_penalty=length_penalty,
            early_stopping=early_stopping,
        )
        self._search(search, state)
        sequences, scores = search.best(num_return_sequences)
        return Generated(np.insert(sequences, 0, self.start, axis=1), scores)

    def _checked(self, input_ids: Array, attention_mask: Array | None, max_new_tokens: int) -> tuple[Array, Array]:
        ids = np.asarray(input_ids)
        mask = np.ones_like(ids) if attention_mask is None else np.asarray(attention_mask)
        if ids.ndim != 2 or 0 in ids.shape:
            raise ValueError(f"input_ids must be (rows, length) with at least one of each, got {ids.shape}")
        if mask.shape != ids.shape:
            raise ValueError(f"attention_mask must have the shape of input_ids {ids.shape}, got {mask.shape}")
        for name, length, limit in (
            ("source length", ids.shape[1], self.description["max_source_length"]),
            ("max_new_tokens", max_new_tokens, self.description["max_target_length"]),
        ):
            if length < 1 or (limit is not None and length > limit):
                raise ValueError(
                    f"{name} must be at least 1" + (f", at most {limit}" if limit else "") + f", got {length}"
                )
        return ids.astype(np.int64), (mask != 0).astype(np.int64)

    def _greedy(self, state: Named, max_new_tokens: int) -> Array:
        tokens = np.full(len(state["attention_mask"]), self.start)  # (B,)
        sequences, is_open = [tokens], np.ones(len(tokens), dtype=bool)
        for position in range(max_new_tokens):
            logits, state = self.step(tokens, position, state)
            tokens = np.where(is_open, logits.argmax(-1), self.pad)
            sequences.append(tokens)
            is_open &= ~np.isin(tokens, self.eos)
            if not is_open.any():
                break
        return np.stack(sequences, axis=1)

    def _search(self, search: "BeamSearch", state: Named) -> None:
        beams = search.scores.shape[1]
        state = {name: tensor.repeat(beams, axis=0) for name, tensor in state.items()}  # (B K, ...)
        tokens, position = np.full(search.scores.size, self.start), 0
        while not search.is_over:
            logits, state = self.step(tokens, position, state)
            origins, tokens = search.advance(logits)
            # What was read of the encoder is the same in all beams of a source.
            state |= {name: state[name].take(origins, axis=0) for name in self.description["states"]}
            position += 1


class BeamSearch:
    """The hypotheses of a beam search, open and ended. The model is elsewhere: logits come in, what to read goes out.

    Args:
        size: sources R, beams K, and most tokens L.
        eos: tokens that end a sequence.
        filler: what stands behind the end of a sequence.
        length_penalty, early_stopping: see ``OnnxSeq2Seq.generate``.
    """

    def __init__(
        self,
        size: tuple[int, int, int],
        *,
        eos: list[int],
        filler: int,
        length_penalty: float,
        early_stopping: bool | str,
    ) -> None:
        self.eos, self.length_penalty, self.early_stopping = eos, length_penalty, early_stopping
        self.tokens = np.full(size, filler)  # (R, K, L), of open sequences
        self.scores = np.full(size[:2], UNLIKELY)
        self.scores[:, 0] = 0.0  # all beams start alike, so the first step goes on from one of them
        self.ended = self.tokens.copy()
        self.ended_scores = np.full(size[:2], UNLIKELY)
        self.ended_lengths = np.zeros(size[:2], dtype=np.int64)  # 0: nothing has ended here yet
        self.improvable = np.ones((size[0], 1), dtype=bool)
        self.length = 0
        self.is_over = False

    def advance(self, logits: Array) -> tuple[Array, Array]:
        """Takes the logits (R K, V) of all open sequences one step further.

        Returns:
            Which of the R K sequences each open one goes on from, and the token that it read last, (R K,) each.
        """
        rows, beams, limit = self.tokens.shape
        vocabulary = logits.shape[-1]
        scores = log_softmax(logits).reshape(rows, beams, vocabulary) + self.scores[:, :, None]
        # So many that K of them stay open, even if every one of the best K ends.
        scores, chosen = top(scores.reshape(rows, -1), max(2, 1 + len(self.eos)) * beams)
        origins = chosen // vocabulary
        tokens = pick(self.tokens, origins)
        tokens[:, :, self.length] = chosen % vocabulary
        self.length += 1
        ends = np.isin(tokens[:, :, self.length - 1], self.eos) | (self.length == limit)
        self._collect(tokens, scores, ends)
        self.scores, going_on = top(scores + ends * UNLIKELY, beams)
        self.tokens = pick(tokens, going_on)
        self._judge(bool(ends.all()))
        flat = pick(origins, going_on) + np.arange(rows)[:, None] * beams
        return flat.ravel(), self.tokens[:, :, self.length - 1].ravel()

    def _collect(self, tokens: Array, scores: Array, ends: Array) -> None:
        """Keeps the best K of the sequences that ended before and those that end now, among the best K candidates."""
        beams = self.scores.shape[1]
        new_scores = (scores / self.length**self.length_penalty).astype(np.float32)[:, :beams]
        full = (self.ended_lengths > 0).all(axis=1, keepdims=True) & (self.early_stopping is True)
        closed = full | ~self.improvable | ~ends[:, :beams]
        new_scores = np.where(closed, new_scores + UNLIKELY, new_scores)
        lengths = ends[:, :beams] * self.length
        self.ended_scores, kept = top(np.concatenate([self.ended_scores, new_scores], axis=1), beams)
        self.ended = pick(np.concatenate([self.ended, tokens[:, :beams]], axis=1), kept)
        self.ended_lengths = pick(np.concatenate([self.ended_lengths, lengths], axis=1), kept)

    def _judge(self, none_goes_on: bool) -> None:
        """Whether the search is over, and for which sources it can still find something better."""
        longest = self.tokens.shape[2] if self.early_stopping == "never" and self.length_penalty > 0 else self.length
        possible = self.scores[:, :1] / longest**self.length_penalty
        worst = self.ended_scores.min(axis=1, keepdims=True)
        has_ended = self.ended_lengths > 0
        self.improvable &= (possible > np.where(has_ended, worst, UNLIKELY)).any(axis=1, keepdims=True)
        full = self.early_stopping is True and bool(has_ended.all())
        self.is_over = none_goes_on or full or not self.improvable.any()

    def best(self, count: int) -> tuple[Array, Array]:
        """The best ``count`` sequences of each source, (R count, length), and their scores (R count,)."""
        longest = self.ended_lengths[:, :count].max()
        return self.ended[:, :count, :longest].reshape(-1, longest), self.ended_scores[:, :count].ravel()


def log_softmax(logits: Array) -> Array:
    """Log-probabilities over the last axis, in float32."""
    shifted = logits - logits.max(axis=-1, keepdims=True)
    return (shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))).astype(np.float32)


def top(scores: Array, count: int) -> tuple[Array, Array]:
    """The ``count`` largest of each row (R, N), largest first, and where they are."""
    some = np.argpartition(-scores, count - 1, axis=1)[:, :count]
    places = pick(some, np.argsort(-pick(scores, some), axis=1, kind="stable"))
    return pick(scores, places), places


def pick(values: Array, places: Array) -> Array:
    """From each row of ``values`` (R, N, ...) what stands at its ``places`` (R, n)."""
    return values[np.arange(len(values))[:, None], places]
