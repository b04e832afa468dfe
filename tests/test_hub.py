"""Models go to a Hub and come back, with the client that users have, over HTTP."""

import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import torch

from hub_server import TOKEN, running_hub
from model_zoo import batch, build, tiny_config
from tiny_seq2seq import character_tokenizer, tiny_model

PROJECT = Path(__file__).parent.parent
# Makes the package impossible to import, as where it is not installed.
WITHOUT_PACKAGE = """
import sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "hf_rnnattn":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Absent())
"""


@pytest.fixture
def hub():
    with running_hub() as server:
        yield server


@pytest.fixture
def python(hub, tmp_path):
    """Runs code in a fresh process that knows the hub; without the package or a token if told so."""

    def run(code, *, token=TOKEN, package=True, fails=None, home="home"):
        environment = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "HUGGING"))}
        environment |= {
            "HF_ENDPOINT": hub.url,
            "HF_HOME": str(tmp_path / home),
            "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "OMP_NUM_THREADS": "1",
            "PYTHONPATH": str(PROJECT / "tests"),
        }
        if token is not None:
            environment["HF_TOKEN"] = token
        done = subprocess.run(
            [sys.executable, "-c", ("" if package else WITHOUT_PACKAGE) + textwrap.dedent(code)],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        if fails is None:
            assert done.returncode == 0, done.stderr[-3000:]
        else:
            assert done.returncode != 0
            assert fails in done.stderr, done.stderr[-3000:]
        return done

    return run


@pytest.fixture
def model(tmp_path):
    """A model and a tokenizer that lie in ``model``, and the logits that the model gives in ``expected.pt``."""
    found = tiny_model("rnnattn")
    found.save_pretrained(tmp_path / "model")
    character_tokenizer().save_pretrained(tmp_path / "model")
    inputs = batch(found.config)
    torch.save({"inputs": inputs, "logits": found(**inputs).logits.detach()}, tmp_path / "expected.pt")
    return found


PUSH = """
import hf_rnnattn
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer
model, tokenizer = AutoModelForSeq2SeqLM.from_pretrained("model"), AutoTokenizer.from_pretrained("model")
"""
SAME = """
import torch
from transformers import AutoConfig, AutoModelForSeq2SeqLM, AutoTokenizer
expected = torch.load("expected.pt", weights_only=True)
def check(repo, **kwargs):
    model = AutoModelForSeq2SeqLM.from_pretrained(repo, **kwargs).eval()
    for parameter in model.parameters():
        parameter.data = parameter.data.clone()  # at the addresses that new tensors have
    assert torch.equal(model(**expected["inputs"]).logits, expected["logits"])
    assert AutoConfig.from_pretrained(repo, **kwargs).model_type == "rnnattn"
    return model, AutoTokenizer.from_pretrained(repo, **kwargs)
"""


def test_what_was_pushed_comes_back(hub, python, model):
    python(PUSH + "model.push_to_hub('mine'); tokenizer.push_to_hub('mine')")
    files = hub.files("tester/mine")
    assert set(files) == {
        ".gitattributes",
        "README.md",
        "config.json",
        "generation_config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
    }
    assert any(line.startswith("PUT /lfs/") for line in hub.requests)
    python("import hf_rnnattn" + SAME + "check('tester/mine')", home="elsewhere")


@pytest.mark.slow
def test_saving_and_pushing_in_one_call(hub, python, model):
    python(PUSH + "model.save_pretrained('copy', push_to_hub=True, repo_id='both', private=True)")
    assert "model.safetensors" in hub.files("tester/both")
    assert hub.repositories["tester/both"].private


def test_code_travels_only_where_it_was_asked_for(hub, python, model):
    python(PUSH + "model.push_to_hub('plain')")
    assert not [name for name in hub.files("tester/plain") if name.endswith(".py")]
    pushed = python(
        PUSH + "hf_rnnattn.enable_remote_code()\nmodel.push_to_hub('coded'); tokenizer.push_to_hub('coded')"
    )
    code = {name for name in hub.files("tester/coded") if name.endswith(".py")}
    assert {"modeling_rnnattn.py", "configuration_rnnattn.py"} <= code
    assert code <= {path.name for path in (PROJECT / "hf_rnnattn" / "model").glob("*.py")}
    assert "modeling_rnnattn.py" in pushed.stderr  # it says what it wrote


def test_without_the_package_the_code_is_run_only_with_trust(hub, python, model):
    python(PUSH + "hf_rnnattn.enable_remote_code()\nmodel.push_to_hub('coded'); tokenizer.push_to_hub('coded')")
    python(SAME + "check('tester/coded', trust_remote_code=True)", package=False, home="a")
    python(
        SAME + "check('tester/coded', trust_remote_code=False)",
        package=False,
        fails="trust_remote_code=True",
        home="a",
    )
    loaded = python(
        "import hf_rnnattn" + SAME + "print(type(check('tester/coded')[0]).__module__)", home="b"
    )  # installed code goes before the code that came with it
    assert loaded.stdout.strip() == "hf_rnnattn.model.modeling_rnnattn"


def test_a_pipeline_comes_from_the_hub_under_its_old_name(hub, python, model):
    answer = "print(pipe('hello', max_new_tokens=5))"
    pushed = python(
        PUSH
        + textwrap.dedent("""
        hf_rnnattn.enable_remote_code()
        from transformers import pipeline
        pipe = pipeline("text2text-generation", model=model, tokenizer=tokenizer)
        pipe.push_to_hub("pipe")
        """)
        + answer
    )
    load = "from transformers import pipeline\npipe = pipeline('text2text-generation', model='tester/pipe'{})\n{}"
    trusted, untrusted = (load.format(how, answer) for how in (", trust_remote_code=True", ""))
    assert python(trusted, package=False, home="c").stdout == pushed.stdout
    python(untrusted, package=False, fails="trust_remote_code", home="d")


def test_private_repositories_need_a_token(hub, python, model):
    python(PUSH + "model.push_to_hub('secret', private=True); tokenizer.push_to_hub('secret')")
    load = "import hf_rnnattn" + SAME + "check('tester/secret')"
    python(load, token=None, fails="tester/secret is not a local folder and is not a valid model identifier", home="a")
    python(load, token="hf_wrong", fails="tester/secret is not a local folder", home="b")
    python(load, home="c")
    python(PUSH + "model.push_to_hub('mine')", token=None, fails="401")


@pytest.mark.slow
def test_revisions_are_kept_apart(hub, python, model):
    python(
        PUSH
        + textwrap.dedent("""
        from huggingface_hub import HfApi
        model.push_to_hub("mine"); tokenizer.push_to_hub("mine")
        HfApi().create_tag("tester/mine", tag="v1")
        HfApi().create_branch("tester/mine", branch="trial")
        model.lm_head.weight.data.zero_()
        model.push_to_hub("mine", revision="trial")
        """)
    )
    commit = hub.repositories["tester/mine"].commit_of("main")
    python(
        f"import hf_rnnattn{SAME}for revision in ('main', 'v1', {commit!r}): check('tester/mine', revision=revision)"
    )
    python(
        "import hf_rnnattn\nfrom transformers import AutoModelForSeq2SeqLM as M\n"
        "assert (M.from_pretrained('tester/mine', revision='trial').lm_head.weight == 0).all()"
    )
    missing = "import hf_rnnattn" + SAME + "check('tester/mine', revision='nowhere')"
    python(missing, fails="nowhere is not a valid git identifier")


ALL = {"checkpoint-1", "checkpoint-2"}
TRAIN = """
from distributed_worker import examples, collate
from transformers import Seq2SeqTrainer, Seq2SeqTrainingArguments
from hf_rnnattn.seq2seq_trainer import SequenceTrainer
arguments = Seq2SeqTrainingArguments("trained", max_steps=2, save_steps=1, use_cpu=True, report_to=[],
    push_to_hub=True, hub_strategy=STRATEGY, hub_private_repo=True, disable_tqdm=True)
data = {"train_dataset": examples(), "data_collator": collate}
trainer = KIND(model=model, args=arguments, processing_class=tokenizer, **data)
trainer.train()
"""


@pytest.mark.parametrize(
    ("kind", "strategy"),
    [
        ("SequenceTrainer", "every_save"),
        ("SequenceTrainer", "checkpoint"),
        ("SequenceTrainer", "end"),
        ("Seq2SeqTrainer", "end"),
        pytest.param("Seq2SeqTrainer", "every_save", marks=pytest.mark.slow),
        pytest.param("SequenceTrainer", "all_checkpoints", marks=pytest.mark.slow),
    ],
)
def test_the_trainer_pushes(hub, python, model, kind, strategy):
    end = "trainer.push_to_hub()" if strategy == "end" else ""
    python(PUSH + TRAIN.replace("KIND", kind).replace("STRATEGY", repr(strategy)) + end)
    files = hub.files("tester/trained")
    assert {"model.safetensors", "config.json", "tokenizer.json"} <= set(files)
    assert hub.repositories["tester/trained"].private
    if kind == "SequenceTrainer":
        assert not [name for name in files if name.endswith("training_args.bin")]  # a pickle
    checkpoints = {name.partition("/")[0] for name in files if name.endswith("trainer_state.json")}
    assert checkpoints <= {"checkpoint": {"last-checkpoint"}, "all_checkpoints": ALL}.get(strategy, set())
    assert checkpoints or strategy not in ("checkpoint", "all_checkpoints")
    if strategy == "end":
        assert b"base_model" in files["README.md"] or b"library_name: transformers" in files["README.md"]


def test_the_training_script_pushes_its_card(hub, python, tmp_path):
    python(
        """
        from pathlib import Path
        from small_runs import flags_of, write_words
        from hf_rnnattn.training import prepare_training
        from hf_rnnattn.training_arguments import parse_arguments
        words = write_words(Path("."))
        flags = flags_of(words, Path("out"), "--do_train", "--do_eval", "--max_steps", "2", "--push_to_hub")
        prepare_training(parse_arguments(flags)).run()
        """
    )
    files = hub.files("tester/out")
    card = files["README.md"].decode()
    assert json.loads(files["config.json"])["model_type"] == "rnnattn"
    assert card == (tmp_path / "out" / "README.md").read_text(encoding="utf-8")
    assert "library_name: transformers" in card
    assert "hf_loopback" not in card + files["config.json"].decode()
    assert not [name for name in files if name.endswith((".py", ".bin", ".pt"))]


@pytest.mark.slow
def test_an_upload_that_fails_is_an_error_and_changes_nothing(hub, python, model):
    python(PUSH + "model.push_to_hub('mine')")
    before = dict(hub.repositories["tester/mine"].revisions)
    hub.broken = "/commit/"
    python(PUSH + "model.lm_head.weight.data.zero_()\nmodel.push_to_hub('mine')", fails="500")
    assert hub.repositories["tester/mine"].revisions == before


@pytest.mark.slow
def test_a_download_that_is_cut_is_an_error_and_the_next_one_is_whole(hub, python, model):
    python(PUSH + "model.push_to_hub('mine'); tokenizer.push_to_hub('mine')")
    load = "import hf_rnnattn" + SAME + "check('tester/mine')"
    hub.cut_downloads = True
    python(load, fails="rror", home="cut")
    hub.cut_downloads = False
    python(load, home="cut")


@pytest.mark.slow
def test_every_head_travels(hub, python, tmp_path):
    build(tiny_config()).save_pretrained(tmp_path / "model")
    python(
        """
        import hf_rnnattn, transformers
        hf_rnnattn.enable_remote_code()
        for name in ("CausalLM", "MaskedLM", "SequenceClassification", "TokenClassification", "QuestionAnswering"):
            model = getattr(transformers, f"AutoModelFor{name}").from_pretrained("model")
            model.push_to_hub(name)
        """
    )
    python(
        """
        import torch, transformers
        for name in ("CausalLM", "MaskedLM", "SequenceClassification", "TokenClassification", "QuestionAnswering"):
            auto = getattr(transformers, f"AutoModelFor{name}")
            model, report = auto.from_pretrained(f"tester/{name}", trust_remote_code=True, output_loading_info=True)
            assert not report["missing_keys"]
            model(input_ids=torch.ones(1, 3).long())
        """,
        package=False,
    )
