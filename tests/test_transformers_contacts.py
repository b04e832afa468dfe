"""Private names of transformers stand in one file, and every contact is listed with the test that notices its end."""

import ast
import importlib
import inspect
import re

import transformers

from sources import ISLAND, PACKAGE, PROJECT, files, name_of, tree_of

VERSIONS = ISLAND / "transformers_versions.py"
PAGE = PROJECT / "docs" / "transformers.md"
# What transformers asks authors of models, caches and pipelines to declare.
DECLARED = {
    "_can_compile_fullgraph",
    "_can_record_outputs",
    "_default_generation_config",
    "_forward",
    "_init_weights",
    "_layer_type",
    "_load_feature_extractor",
    "_load_image_processor",
    "_load_processor",
    "_load_tokenizer",
    "_load_video_processor",
    "_no_split_modules",
    "_pipeline_calls_generate",
    "_sanitize_parameters",
    "_supports_context_parallel",
    "_supports_flash_attn",
    "_supports_flex_attn",
    "_supports_sdpa",
    "_tied_weights_keys",
}
# Modules whose classes are subclassed, whose objects are read, or that hand objects on.
THEIRS = (
    "cache_utils",
    "configuration_utils",
    "generation.candidate_generator",
    "generation.configuration_utils",
    "generation.stopping_criteria",
    "generation.utils",
    "integrations.peft",
    "masking_utils",
    "modeling_layers",
    "modeling_utils",
    "pipelines",
    "pipelines.base",
    "tokenization_utils_base",
    "tokenization_utils_tokenizers",
    "trainer",
    "trainer_callback",
    "trainer_seq2seq",
    "utils.generic",
    "utils.hub",
    "utils.output_capturing",
)
# Private names of torch and of the standard library that look like transformers' own.
NOT_THEIRS = {"_modules", "_parameters", "_dynamo", "_replace", "_fields", "_VF", "_last_lr"}
# Undocumented parts of transformers from which public names are imported.
UNDOCUMENTED = {
    "transformers.generation.candidate_generator",
    "transformers.initialization",
    "transformers.masking_utils",
    "transformers.modeling_layers",
    "transformers.processing_utils",
    "transformers.quantizers",
    "transformers.trainer",
    "transformers.utils",
    "transformers.utils.generic",
    "transformers.utils.output_capturing",
}
DOCUMENTED = {
    "transformers.activations",
    "transformers.cache_utils",
    "transformers.generation",
    "transformers.modeling_outputs",
    "transformers.modeling_utils",
    "transformers.pipelines",
    "transformers.pipelines.base",
    "transformers.trainer_utils",
}
LIBRARY = files(PACKAGE, "scripts")
OTHERS = [path for path in LIBRARY if path != VERSIONS]


def private_names_of_transformers() -> set[str]:
    """What these modules call by a name that starts with one underscore."""
    texts = (inspect.getsource(importlib.import_module(f"transformers.{name}")) for name in THEIRS)
    return {name for text in texts for name in re.findall(r"\b_[a-z]\w*", text)} - NOT_THEIRS


def private_names(tree: ast.AST) -> set[str]:
    """Names of one underscore that code reads or sets on objects, defines in classes, or asks for as a string."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            found.add(node.attr)
        elif isinstance(node, ast.ClassDef):
            found |= defined_in(node)
        elif isinstance(node, ast.Call) and ast.unparse(node.func) in ("getattr", "setattr", "hasattr", "delattr"):
            found |= {argument.value for argument in node.args if isinstance(argument, ast.Constant)}
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("transformers"):
            found |= {alias.name for alias in node.names}
    return {name for name in found if isinstance(name, str) and re.fullmatch(r"_[a-z]\w*", name)}


def defined_in(node: ast.ClassDef) -> set[str]:
    """The names that the body of a class defines."""
    names = {child.name for child in node.body if isinstance(child, ast.FunctionDef)}
    for child in node.body:
        targets = child.targets if isinstance(child, ast.Assign) else [getattr(child, "target", None)]
        names |= {target.id for target in targets if isinstance(target, ast.Name)}
    return names


def own_names() -> set[str]:
    """Private names that the package defines itself: methods and attributes of classes that are nobody else's."""
    found = set()
    for path in OTHERS:
        for node in ast.walk(tree_of(path)):
            if isinstance(node, ast.ClassDef):
                found |= defined_in(node) | assigned_in(node)
            elif isinstance(node, ast.FunctionDef):
                found |= {child.attr for child in ast.walk(node) if is_set_on_something(child)}
    return found


def assigned_in(node: ast.ClassDef) -> set[str]:
    return {child.attr for child in ast.walk(node) if is_set_on_something(child)}


def is_set_on_something(node: ast.AST) -> bool:
    return isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store)


def classes():
    """Every class of the library that is a subclass of one of transformers."""
    for path in files(PACKAGE):
        name = ".".join(path.relative_to(PROJECT).with_suffix("").parts)
        if name.endswith("__main__"):
            continue
        for member in vars(importlib.import_module(name.removesuffix(".__init__"))).values():
            if inspect.isclass(member) and member.__module__ == name:
                yield member


def test_no_other_file_overrides_what_is_private_to_transformers():
    wrong = {}
    for one in classes():
        bases = [base for base in one.__mro__ if base.__module__.split(".")[0] == "transformers"]
        bases += [base for base in one.__mro__ if base.__module__.endswith("transformers_versions")]
        theirs = {name for base in bases for name in vars(base)}
        mine = {name for name in vars(one) if re.fullmatch(r"_[a-z]\w*", name)} & theirs
        if not one.__module__.endswith("transformers_versions") and mine - DECLARED - made_by_transformers():
            wrong[one.__name__] = mine - DECLARED
    assert not wrong


def made_by_transformers() -> set[str]:
    """What its own metaclasses and caches put into subclasses."""
    return {"_can_set_attn_implementation_cached_value", "_auto_class", "_abc_impl", "_registered_impl"}


def test_no_other_file_reads_what_is_private_to_transformers():
    theirs = private_names_of_transformers()
    assert {"_prefill", "_attn_implementation", "_push_from_checkpoint", "_registered_impl"} <= theirs
    foreign = theirs - DECLARED - own_names()
    wrong = {name_of(path): private_names(tree_of(path)) & foreign for path in OTHERS}
    assert not {name: found for name, found in wrong.items() if found}


def test_no_other_file_asks_for_the_version():
    for path in OTHERS:
        text = path.read_text(encoding="utf-8")
        asks = re.findall(r"transformers\.__version__|is_transformers_version|version\(.transformers.\)", text)
        assert not asks or name_of(path) in RECORDS, name_of(path)


# They write down what a run was made with.
RECORDS = {"hf_rnnattn/training_results.py", "hf_rnnattn/results.py", "hf_rnnattn/model_card.py"}


def test_no_function_of_transformers_is_replaced():
    """Only ``PIPELINE_REGISTRY.check_task`` is shadowed, in the one file for such things."""
    replaced = {name_of(path): set_on_imports(tree_of(path)) for path in LIBRARY}
    found = {path: names for path, names in replaced.items() if names}
    assert found == {name_of(VERSIONS): {"PIPELINE_REGISTRY.check_task"}}


def set_on_imports(tree: ast.AST) -> set[str]:
    """The attributes that code sets on what it imports of transformers."""
    imported = {
        (alias.asname or alias.name).split(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for alias in node.names
        if "import transformers" in ast.unparse(node) or "from transformers" in ast.unparse(node)
    }
    touched = {ast.unparse(node) for node in ast.walk(tree) if is_set_on_something(node)}
    return {name for name in touched if name.split(".")[0] in imported}


def test_every_contact_is_listed_and_nothing_else():
    listed = set(re.findall(r"^\| (.*?) \|", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE))
    names = {name for cell in listed for name in re.findall(r"`([^`]+)`", cell)}
    own = {"_field"}
    private = (private_names(tree_of(VERSIONS)) | defined_functions()) - own
    assert {name for name in names if name.startswith("_")} == private | DECLARED
    assert {name for name in names if name.startswith("transformers.")} == UNDOCUMENTED
    assert imported_modules() - DOCUMENTED == UNDOCUMENTED


def defined_functions() -> set[str]:
    names = {node.name for node in ast.walk(tree_of(VERSIONS)) if isinstance(node, ast.FunctionDef)}
    return {name for name in names if re.fullmatch(r"_[a-z]\w*", name)}


def imported_modules() -> set[str]:
    nodes = [node for path in LIBRARY for node in ast.walk(tree_of(path))]
    names = {node.module for node in nodes if isinstance(node, ast.ImportFrom) and not node.level}
    names |= {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    return {name for name in names if name and name.startswith("transformers.")}


def test_every_test_that_the_page_names_is_there():
    named = re.findall(r"`(tests/[^`]+)`", PAGE.read_text(encoding="utf-8"))
    assert len(named) > 40
    for name in named:
        path, _, function = name.partition("::")
        tree = tree_of(PROJECT / path)
        functions = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
        assert not function or function in functions, name


def test_what_is_declared_is_asked_for():
    """A declaration that transformers reads no more would be noticed by nothing else."""
    texts = {name: inspect.getsource(importlib.import_module(f"transformers.{name}")) for name in THEIRS}
    texts["accelerate"] = inspect.getsource(importlib.import_module("transformers.integrations.accelerate"))
    missing = {name for name in DECLARED if not any(re.search(rf"\b{name}\b", text) for text in texts.values())}
    assert not missing, f"transformers {transformers.__version__} does not read them"
