"""Lines in, lines out: answers in order, as soon as they can be given, the same as from generate() itself."""

import io
import os
import threading

import pytest
import torch
from transformers import BartConfig, BartForConditionalGeneration

from hf_rnnattn.generating import TextGenerator, load_checkpoint
from hf_rnnattn.streaming import batches_as_they_come, full_batches, generate_lines, is_stream
from hf_rnnattn.tokenizer_training import train_tokenizers

WORDS = ["abe", "cab", "bad", "deaf", "face", "a", "bead", "fed"]


@pytest.fixture(scope="module")
def generator() -> TextGenerator:
    tokenizer = train_tokenizers(WORDS, WORDS, source_kind="char", shared=True)
    torch.manual_seed(1)
    sizes = {f"{side}_{name}": size for side in ("encoder", "decoder") for name, size in
             (("layers", 1), ("attention_heads", 2), ("ffn_dim", 16))}  # fmt: skip
    config = BartConfig(d_model=16, max_position_embeddings=32, init_std=0.5, **sizes, **tokenizer.config_fields())
    model = BartForConditionalGeneration(config).eval()
    return TextGenerator(model, tokenizer, max_new_tokens=6)


def one_by_one(generator: TextGenerator, texts: list[str]) -> list[str]:
    """What generate() says to each text alone."""
    answers = []
    for text in texts:
        output = generator.model.generate(**generator.tokenizer([text], return_tensors="pt"), **generator.generation)
        answers += generator.tokenizer.batch_decode(output, skip_special_tokens=True)
    return answers


def test_answers_are_those_of_each_line_alone_and_in_order(generator: TextGenerator) -> None:
    sink = io.StringIO()
    generate_lines(generator, io.StringIO("\n".join(WORDS) + "\n"), sink, batch_size=3)
    assert sink.getvalue().split("\n")[:-1] == one_by_one(generator, WORDS)
    assert len(set(sink.getvalue().split("\n"))) > 3  # the model does tell the words apart


def test_empty_lines_stay_empty_lines(generator: TextGenerator) -> None:
    sink = io.StringIO()
    generate_lines(generator, io.StringIO("\nabe\n  \r\n\ncab"), sink)
    abe, cab = one_by_one(generator, ["abe", "cab"])
    assert sink.getvalue() == f"\n{abe}\n\n\n{cab}\n"


def test_several_answers_a_line_are_on_lines_of_their_own(generator: TextGenerator) -> None:
    beams = TextGenerator(
        generator.model,
        generator.tokenizer,
        max_new_tokens=6,
        num_beams=3,
        num_return_sequences=2,
        length_penalty=None,
    )
    sink = io.StringIO()
    generate_lines(beams, io.StringIO("abe\n\ncab\n"), sink)
    lines = sink.getvalue().split("\n")
    assert lines[:-1] == [*one_by_one(beams, ["abe"]), "", "", *one_by_one(beams, ["cab"])]


def test_second_segments_come_after_a_tab(generator: TextGenerator) -> None:
    sink = io.StringIO()
    generate_lines(generator, io.StringIO("abe\tcab\n"), sink, paired=True)
    inputs = generator.tokenizer("abe", text_pair="cab", return_tensors="pt")
    output = generator.model.generate(inputs["input_ids"], attention_mask=inputs["attention_mask"], max_new_tokens=6)
    assert sink.getvalue() == generator.tokenizer.decode(output[0], skip_special_tokens=True) + "\n"
    with pytest.raises(ValueError, match="needs a tab, got 'abe'"):
        generate_lines(generator, io.StringIO("abe\n"), io.StringIO(), paired=True)


def test_slow_writer_is_answered_before_it_writes_on(generator: TextGenerator) -> None:
    """Every line of a pipe is answered before the next one is written, although a batch would hold many."""
    read_lines, write_lines = os.pipe()
    read_answers, write_answers = os.pipe()
    with open(read_lines) as source, open(write_answers, "w") as sink:
        assert is_stream(source)
        worker = threading.Thread(target=lambda: (generate_lines(generator, source, sink), sink.close()))
        worker.start()
        with open(write_lines, "w") as lines, open(read_answers) as answers:
            found = []
            for word in WORDS[:3]:
                print(word, file=lines, flush=True)
                found.append(answers.readline().rstrip("\n"))
            lines.close()
            assert answers.read() == ""
        worker.join()
    assert found == one_by_one(generator, WORDS[:3])


def test_file_is_read_in_full_batches(tmp_path) -> None:
    (tmp_path / "lines.txt").write_text("a\n" * 5)
    with (tmp_path / "lines.txt").open() as file:
        assert not is_stream(file)
        assert [len(batch) for batch in full_batches(file, 2)] == [2, 2, 1]


@pytest.mark.parametrize(
    "error", [UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte"), SystemExit(1)], ids=["data", "exit"]
)
def test_exception_of_the_reader_reaches_the_consumer_after_what_came_before(error) -> None:
    def lines():
        yield "a"
        raise error

    batches = batches_as_they_come(lines(), 10)
    seen = []
    with pytest.raises(type(error)):
        seen.extend(batches)  # keeps what came before the exception
    assert [line for batch in seen for line in batch] == ["a"]
    assert next(batches, None) is None


def test_closing_the_batches_ends_the_reading() -> None:
    read = []

    def lines():
        for number in range(10_000):
            read.append(number)
            yield str(number)

    batches = batches_as_they_come(lines(), 2)
    next(batches)
    batches.close()
    for thread in threading.enumerate():
        if thread.name == "batches_as_they_come":
            thread.join(20)
            assert not thread.is_alive()
    assert len(read) < 10_000


def test_exception_of_the_model_ends_the_lines_after_the_answers_before_it(generator, monkeypatch) -> None:
    generate, calls = generator.model.generate, []

    def failing(**inputs):
        calls.append(inputs)
        if len(calls) == 3:
            raise RuntimeError("no more memory")
        return generate(**inputs)

    monkeypatch.setattr(generator.model, "generate", failing)
    sink = io.StringIO()
    with pytest.raises(RuntimeError, match="no more memory"):
        generate_lines(generator, io.StringIO("\n".join(WORDS)), sink, batch_size=2)
    monkeypatch.undo()
    assert sink.getvalue().split("\n")[:-1] == one_by_one(generator, WORDS[:4])


def test_stream_of_many_lines_is_complete_and_in_order() -> None:
    lines = [str(number) for number in range(1000)]
    batches = list(batches_as_they_come(iter(lines), 7))
    assert [line for batch in batches for line in batch] == lines
    assert max(len(batch) for batch in batches) <= 7


def test_batch_size_below_one_is_refused(generator: TextGenerator) -> None:
    with pytest.raises(ValueError, match="batch_size must be >= 1, got 0"):
        generate_lines(generator, io.StringIO("a"), io.StringIO(), batch_size=0)


def test_saved_model_generates_as_before(generator: TextGenerator, tmp_path) -> None:
    generator.model.save_pretrained(tmp_path)
    generator.tokenizer.save_pretrained(tmp_path)
    model, tokenizer = load_checkpoint(str(tmp_path), device="cpu")
    assert not model.training
    again = TextGenerator(model, tokenizer, max_new_tokens=6)
    assert again(WORDS) == generator(WORDS)
