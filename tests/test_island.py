"""The island: the files of hf_rnnattn/model travel, flat, with a checkpoint, and need no installed package.

transformers finds the files to copy with regular expressions over their text, so the rules here are about text, too.
"""

import ast
import importlib
import inspect
import json
import os
import re
import subprocess
import sys

import pytest
import torch
from transformers.dynamic_module_utils import get_imports, get_relative_import_files

from hf_rnnattn.model.mixers import MIXERS
from sources import ISLAND, PACKAGE, import_nodes, imported_files, tree_of

FILES = sorted(ISLAND.glob("*.py"))
MODULES = [path.stem for path in FILES]
THIRD_PARTY = {"torch", "transformers", "tokenizers", "safetensors", "huggingface_hub"}  # the core's dependencies
each_file = pytest.mark.parametrize("path", FILES, ids=MODULES)


def test_the_island_is_one_flat_folder_of_python_files():
    entries = {path.name for path in ISLAND.iterdir() if path.name != "__pycache__"}
    assert entries == {path.name for path in FILES}


@each_file
def test_siblings_are_imported_by_name(path):
    for node in import_nodes(tree_of(path)):
        if isinstance(node, ast.ImportFrom) and node.level:
            assert node.level == 1, f"line {node.lineno}: siblings only"
            assert node.module in MODULES, f"line {node.lineno}: from .sibling import Name"
        else:
            names = [node.module] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names]
            assert not [name for name in names if name.split(".")[0] == PACKAGE], f"line {node.lineno}"


@each_file
def test_transformers_finds_the_siblings_that_the_code_imports_and_no_others(path):
    """A line of a docstring that looks like a relative import would be followed, too."""
    imported = {node.module for node in import_nodes(tree_of(path)) if isinstance(node, ast.ImportFrom) and node.level}
    text = path.read_text(encoding="utf-8")
    found = set(re.findall(r"^\s*(?:import\s+\.(\S+)\s*$|from\s+\.(\S+)\s+import)", text, flags=re.MULTILINE))
    assert {one or other for one, other in found} == imported
    get_relative_import_files(path)  # raises FileNotFoundError for what is not there


@each_file
def test_third_party_imports_are_the_dependencies_of_the_core(path):
    """Loading remote code demands everything that is imported outside try/except."""
    assert {name.split(".")[0] for name in get_imports(path)} <= THIRD_PARTY | set(sys.stdlib_module_names)


@each_file
def test_importing_a_file_of_the_island_defines_and_does_nothing_else(path):
    """Every copy of the code would do it again. Only a logger and constants may be made at the top of a file."""
    for node in tree_of(path).body:
        if isinstance(node, ast.Expr):
            assert isinstance(node.value, ast.Constant), f"line {node.lineno} does something at import"
        assert not isinstance(node, ast.For | ast.While | ast.With | ast.Delete), f"line {node.lineno}"


@each_file
def test_every_public_name_of_the_island_is_documented(path):
    module = importlib.import_module(f"{PACKAGE}.model.{path.stem}" if path.stem != "__init__" else f"{PACKAGE}.model")
    assert module.__doc__
    missing = [name for name, member in public_members(module) if not inspect.getdoc(member)]
    assert not missing


def public_members(module):
    """The public functions and classes that a module defines, and the public methods that these classes add.

    A method that stands in for one of torch or transformers means what is documented there.
    """
    for name, member in vars(module).items():
        if name.startswith("_") or getattr(member, "__module__", None) != module.__name__:
            continue
        if inspect.isfunction(member) or inspect.isclass(member):
            yield name, member
        if inspect.isclass(member):
            foreign = {
                name for base in member.__mro__ if not base.__module__.startswith(PACKAGE) for name in dir(base)
            }
            for method, value in vars(member).items():
                callable_ = inspect.isfunction(value) or isinstance(value, property | classmethod | staticmethod)
                if callable_ and not method.startswith("_") and method not in foreign:
                    yield f"{name}.{method}", getattr(member, method)


def code_of(*names):
    """The files that these files of the island need, themselves included."""
    needed, left = set(), [ISLAND / name for name in names]
    while left:
        path = left.pop()
        if path not in needed:
            needed.add(path)
            left += imported_files(path)
    return {path.name for path in needed}


SAVE = """
import sys
import torch
import hf_rnnattn
from hf_rnnattn.tokenizer_training import train_tokenizers

torch.manual_seed(0)
folder, mixers = sys.argv[1], sys.argv[2].split(",")
texts = {"sources": ["abc", "bca"], "targets": ["x yy", "yy z"]}
tokenizer = train_tokenizers(**texts, source_kind="char", target_kind="whitespace")
config = hf_rnnattn.RnnAttnConfig(
    hidden_size=8, encoder_mixers=mixers, decoder_mixers=mixers, encoder_attention_heads=2, decoder_attention_heads=2,
    encoder_ffn_dim=16, decoder_ffn_dim=16, max_position_embeddings=16, **tokenizer.config_fields(),
)
model = hf_rnnattn.RnnAttnForConditionalGeneration(config).eval()
hf_rnnattn.enable_remote_code()
model.save_pretrained(folder)
tokenizer.save_pretrained(folder)
"""

# In a process where `import hf_rnnattn` fails: what a machine without the package sees.
FORGET_THE_PACKAGE = """
import sys

class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "hf_rnnattn":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Missing())
"""

COMPUTE = """
import sys
import torch
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

folder, result, trust = sys.argv[1], sys.argv[2], sys.argv[3] == "trust"
tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=trust)
model = AutoModelForSeq2SeqLM.from_pretrained(folder, trust_remote_code=trust).eval()
batch = tokenizer(["abca", "b"], text_target=["x yy z", "x"], padding=True, return_tensors="pt")
with torch.no_grad():
    logits = model(**batch).logits
tokens = model.generate(batch["input_ids"], attention_mask=batch["attention_mask"], num_beams=3, max_new_tokens=5)
torch.save({"logits": logits, "tokens": tokens, "text": tokenizer.batch_decode(tokens)}, result)
assert ("hf_rnnattn" in sys.modules) != trust
"""


def run_python(code, *arguments, **variables):
    """Runs code in a fresh process, in which transformers keeps the code that it loads in a folder of its own."""
    command = [sys.executable, "-c", code, *map(str, arguments)]
    run = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **variables})
    assert run.returncode == 0, run.stderr


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A tiny checkpoint of all mixers, saved together with its code."""
    folder = tmp_path_factory.mktemp("island") / "checkpoint"
    mixers = sorted(name for name, cell in MIXERS.items() if not getattr(cell, "reads_memory", False))
    run_python(SAVE, folder, ",".join(mixers))
    return folder


def test_what_is_pushed_is_exactly_what_is_needed(saved):
    data = {"config.json", "generation_config.json", "model.safetensors"}
    data |= {"tokenizer.json", "target_tokenizer.json", "tokenizer_config.json"}
    code = code_of("configuration_rnnattn.py", "modeling_rnnattn.py", "tokenization_rnnattn.py")
    assert {path.name for path in saved.iterdir() if path.name != "__pycache__"} == data | code
    assert json.loads((saved / "config.json").read_text())["auto_map"] == {
        "AutoConfig": "configuration_rnnattn.RnnAttnConfig",
        "AutoModelForSeq2SeqLM": "modeling_rnnattn.RnnAttnForConditionalGeneration",
    }


@pytest.mark.contact
def test_a_checkpoint_with_its_code_needs_no_installed_package(saved, tmp_path):
    run_python("import hf_rnnattn\n" + COMPUTE, saved, tmp_path / "here.pt", "installed")
    modules = str(tmp_path / "modules")
    run_python(FORGET_THE_PACKAGE + COMPUTE, saved, tmp_path / "there.pt", "trust", HF_MODULES_CACHE=modules)
    here, there = (torch.load(tmp_path / name, weights_only=True) for name in ("here.pt", "there.pt"))
    assert torch.equal(here["logits"], there["logits"])
    assert torch.equal(here["tokens"], there["tokens"])
    assert here["text"] == there["text"]
