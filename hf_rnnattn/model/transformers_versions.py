"""Everything that differs between the supported versions of transformers, and every private name of it.

transformers releases monthly, and renames. No other file asks for its version, overrides one of its private methods or
reads one of its private attributes: they call the functions here and override the public hooks of the classes here.
Features are asked for, not version numbers. ``docs/transformers.md`` lists each contact with the test that notices
when it goes.
"""

import functools
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, ClassVar

import torch
from tokenizers import Tokenizer
from torch import Tensor, nn
from transformers import BatchEncoding, PreTrainedTokenizerFast
from transformers.generation import GenerationMixin, StoppingCriteriaList
from transformers.modeling_outputs import Seq2SeqLMOutput
from transformers.modeling_utils import PreTrainedModel

# The cache

CACHE_NAMES = ("cache", "past_key_values")  # from 5.24 on, and before
CACHE = next(name for name in CACHE_NAMES if name in Seq2SeqLMOutput.__dataclass_fields__)
OTHER_CACHE = next(name for name in CACHE_NAMES if name != CACHE)


def one_cache(cache: Any, past_key_values: Any) -> Any:
    """Return the cache that was given, under whichever of its two names.

    Where transformers warns of the older name, so does this.

    Raises:
        ValueError: two different caches were given.
    """
    if cache is not None and past_key_values is not None and cache is not past_key_values:
        raise ValueError("give the cache once, as cache or as past_key_values: two different ones were given")
    if past_key_values is None:
        return cache
    if CACHE == "cache" and not torch.compiler.is_compiling():
        text = "`past_key_values` is deprecated: give the cache as `cache`"
        warnings.warn(text, FutureWarning, stacklevel=3)  # of whoever called the caller of this
    return past_key_values


def named_cache(cache: Any) -> dict[str, Any]:
    """Return the cache as the keyword argument, or output field, that this version of transformers knows."""
    return {CACHE: cache}


class BothCacheNames:
    """Base of output classes that answer to ``cache`` and to ``past_key_values``, whichever is the field."""

    if CACHE == "cache":

        @property
        def past_key_values(self) -> Any:
            """The cache, by the name that it had before transformers 5.24."""
            return getattr(self, CACHE)

    else:

        @property
        def cache(self) -> Any:
            """The cache, by the name that it has from transformers 5.24 on."""
            return getattr(self, CACHE)

    def __getitem__(self, key: Any) -> Any:
        return super().__getitem__(_field(key))  # type: ignore[misc]

    def __contains__(self, key: Any) -> bool:
        return bool(super().__contains__(_field(key)))  # type: ignore[misc]

    def get(self, key: Any, default: Any = None) -> Any:
        """Return the field ``key``, or ``default`` where it is None."""
        return super().get(_field(key), default)  # type: ignore[misc]


def _field(key: Any) -> Any:
    return CACHE if key == OTHER_CACHE else key


# Models


class VersionedModel(PreTrainedModel):
    """``PreTrainedModel`` whose private contacts with this package are here."""

    _skip_keys_device_placement: ClassVar[list[str]] = list(CACHE_NAMES)

    def _initialize_weights(self, module: nn.Module, *args: Any, **kwargs: Any) -> None:
        # transformers skips modules without parameters of their own in code that is not its own, and with them the
        # initialisation of our cells. It does so to spare loaded weights, which our initialisation leaves alone.
        super()._initialize_weights(module)

    def resized_embeddings(self, table: nn.Embedding, *sizes: Any) -> nn.Embedding:
        """Return ``table`` with another number of rows; ``sizes`` are those of ``resize_token_embeddings``."""
        resized: nn.Embedding = self._get_resized_embeddings(table, *sizes)
        return resized

    def resized_output(self, output: nn.Linear, rows: int, *, mean_resizing: bool) -> nn.Linear:
        """Return the output matrix with another number of rows."""
        resized: nn.Linear = self._get_resized_lm_head(output, rows, mean_resizing=mean_resizing)
        return resized


def drop_weight_conversions(model: Any, source_patterns: set[str]) -> None:
    """Make saving forget the renamings of weights from ``source_patterns`` that loading applied."""
    model._weight_conversions = [
        entry for entry in model._weight_conversions if not {*entry.source_patterns} & source_patterns
    ]


def is_loaded(parameter: Tensor) -> bool:
    """Return whether a parameter came from a checkpoint, so that initialisation must leave it alone."""
    return bool(getattr(parameter, "_is_hf_initialized", False))


def attention_implementation(config: Any) -> Any:
    """Return the name of the attention implementation that a config asks for."""
    return config._attn_implementation


def restore_attention_implementation(config: Any, name: Any) -> None:
    """Put back what ``attention_implementation`` returned, in this config and those inside it, unchecked."""
    config._attn_implementation = name


def parts_with_attention(model: nn.Module) -> list[PreTrainedModel]:
    """Return the models inside ``model``, itself included, whose attention implementation can be switched."""
    return [
        part for part in model.modules() if isinstance(part, PreTrainedModel) and part._can_set_attn_implementation()
    ]


# Generation


class GenerationHooks(GenerationMixin):
    """``generate`` that takes the cache by both names, and whose steps can be changed by overriding public methods."""

    @functools.wraps(GenerationMixin.generate)
    def generate(self, *args: Any, **kwargs: Any) -> Any:
        given = {name: kwargs.pop(name) for name in CACHE_NAMES if name in kwargs}
        if given:
            kwargs[CACHE] = one_cache(given.get("cache"), given.get("past_key_values"))
        output = super().generate(*args, **kwargs)
        if CACHE != "cache" and hasattr(output, CACHE):  # from 5.24 on transformers' own outputs answer to both
            output.cache = getattr(output, CACHE)
        return output

    def prepared_settings(self, generation_config: Any, *args: Any, **kwargs: Any) -> tuple[Any, dict[str, Any]]:
        """Return the generation config of a call, and what of its keywords goes to the model."""
        config, model_kwargs = super()._prepare_generation_config(generation_config, *args, **kwargs)
        return config, model_kwargs

    def prepared_length(self, generation_config: Any, has_default_max_length: bool, *args: Any, **kwargs: Any) -> Any:
        """Return the generation config with the lengths that follow from the inputs."""
        return super()._prepare_generated_length(generation_config, has_default_max_length, *args, **kwargs)

    def stopping_criteria(self, generation_config: Any, *args: Any, **kwargs: Any) -> StoppingCriteriaList:
        """Return the criteria that end rows."""
        return super()._get_stopping_criteria(generation_config, *args, **kwargs)

    def prepare_cache(self, generation_config: Any, model_kwargs: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        """Put the cache that a call needs into ``model_kwargs``, under the name ``CACHE``."""
        return super()._prepare_cache_for_generation(generation_config, model_kwargs, *args, **kwargs)

    def read_prompt(self, input_ids: Tensor, generation_config: Any, *args: Any, **kwargs: Any) -> Any:
        """Return what the model says of the prompt, the first forward pass of ``generate``."""
        return super()._prefill(input_ids, generation_config, *args, **kwargs)  # type: ignore[arg-type]

    def candidate_generator(
        self, *args: Any, inputs_tensor: Tensor, model_kwargs: dict[str, Any], **kwargs: Any
    ) -> Any:
        """Return what proposes tokens in assisted decoding."""
        kwargs |= {"inputs_tensor": inputs_tensor, "model_kwargs": model_kwargs}
        return super()._get_candidate_generator(*args, **kwargs)

    def _prepare_generation_config(self, *args: Any, **kwargs: Any) -> Any:
        return self.prepared_settings(*args, **kwargs)

    def _prepare_generated_length(self, *args: Any, **kwargs: Any) -> Any:
        return self.prepared_length(*args, **kwargs)

    def _get_stopping_criteria(self, *args: Any, **kwargs: Any) -> Any:
        return self.stopping_criteria(*args, **kwargs)

    def _prepare_cache_for_generation(self, *args: Any, **kwargs: Any) -> Any:
        return self.prepare_cache(*args, **kwargs)

    def _prefill(self, *args: Any, **kwargs: Any) -> Any:
        return self.read_prompt(*args, **kwargs)

    def _get_candidate_generator(self, *args: Any, **kwargs: Any) -> Any:
        return self.candidate_generator(*args, **kwargs)


def next_model_kwargs(model: Any, output: Any, model_kwargs: dict[str, Any]) -> dict[str, Any]:
    """Return what an encoder-decoder is told in the step of ``generate`` after the one that gave ``output``."""
    kwargs: dict[str, Any] = model._update_model_kwargs_for_generation(output, model_kwargs, is_encoder_decoder=True)
    return kwargs


# Tokenizers


class TokenizerHooks(PreTrainedTokenizerFast):
    """``PreTrainedTokenizerFast`` whose private steps can be changed by overriding public methods."""

    _tokenizer: Tokenizer

    @property
    def active_backend(self) -> Tokenizer:
        """The ``tokenizers.Tokenizer`` that encodes now."""
        return self._tokenizer

    @active_backend.setter
    def active_backend(self, backend: Tokenizer) -> None:
        self._tokenizer = backend

    @property
    def stays_in_target_mode(self) -> bool:
        """True if calls leave the target side switched on."""
        return bool(self._in_target_context_manager)

    @stays_in_target_mode.setter
    def stays_in_target_mode(self, stays: bool) -> None:
        self._in_target_context_manager = stays

    @classmethod
    def load_files(cls, resolved_vocab_files: dict[str, Any], name: Any, *args: Any, **kwargs: Any) -> Any:
        """Return the tokenizer of these files."""
        return super()._from_pretrained(resolved_vocab_files, name, *args, **kwargs)  # type: ignore[no-untyped-call]

    def save_files(self, save_directory: Any, *args: Any, **kwargs: Any) -> tuple[str, ...]:
        """Write the files of the tokenizer, and return their names."""
        names: tuple[str, ...] = super()._save_pretrained(save_directory, *args, **kwargs)
        return names

    def encode_texts(self, *, text: Any, text_pair: Any = None, **kwargs: Any) -> BatchEncoding:
        """Encode a text, or several, with the side that is switched on."""
        encoding: BatchEncoding = super()._encode_plus(text=text, text_pair=text_pair, **kwargs)
        return encoding

    def decode_ids(self, token_ids: Any, **kwargs: Any) -> str:
        """Return the text of one sequence."""
        text: str = super()._decode(token_ids, **kwargs)
        return text

    def switch_to_target(self) -> None:
        """Switch the target side on: called before ``text_target`` is encoded."""

    def switch_to_source(self) -> None:
        """Switch the source side on again."""

    @classmethod
    def _from_pretrained(cls, *args: Any, **kwargs: Any) -> Any:
        return cls.load_files(*args, **kwargs)

    def _save_pretrained(self, *args: Any, **kwargs: Any) -> Any:
        return self.save_files(*args, **kwargs)

    def _encode_plus(self, text: Any, text_pair: Any = None, **kwargs: Any) -> BatchEncoding:  # type: ignore[override]
        return self.encode_texts(text=text, text_pair=text_pair, **kwargs)

    def _decode(self, token_ids: Any, *args: Any, **kwargs: Any) -> str:
        return self.decode_ids(token_ids, *args, **kwargs)

    def _switch_to_target_mode(self) -> None:
        self.switch_to_target()

    def _switch_to_input_mode(self) -> None:
        self.switch_to_source()


# Configs


class JsonFileHook:
    """Base of configs that check what a config.json holds before it is used."""

    @classmethod
    def _dict_from_json_file(cls, json_file: Any) -> Any:
        return cls.checked_json(super()._dict_from_json_file(json_file))  # type: ignore[misc]

    @classmethod
    def checked_json(cls, content: Any) -> Any:
        """Return the content of a config.json, or raise if it cannot be a config."""
        return content


# Pipelines


def saves_its_code(model: Any) -> bool:
    """Return whether ``save_pretrained`` of a model, tokenizer or config puts its code beside it."""
    return getattr(model, "_auto_class", None) is not None


@contextmanager
def registered_as(pipeline: Any, task: str, auto_class: Any) -> Iterator[None]:
    """Within the block, ``save_pretrained`` of a pipeline saves its code too, as the pipeline of ``task``."""
    pipeline._registered_impl = {task: {"impl": type(pipeline), "pt": (auto_class,), "type": "text"}}
    try:
        yield
    finally:
        pipeline.__dict__.pop("_registered_impl", None)


def generate_arguments(pipeline: Any, given: dict[str, Any], asked: dict[str, Any]) -> dict[str, Any]:
    """Return the keywords with which a pipeline calls ``generate``: its defaults, then ``given``, then ``asked``."""
    if hasattr(pipeline, "_prepare_generate_kwargs"):
        prepared: dict[str, Any] = pipeline._prepare_generate_kwargs(given, **asked)
        return prepared
    # transformers before 5.23 keep the merged defaults in a generation config
    return {"generation_config": pipeline.generation_config, **given, **asked}


@contextmanager
def task_parameters_hidden(config: Any) -> Iterator[None]:
    """Within the block, a config has no ``task_specific_params``.

    transformers before 5.23 applies them while a pipeline is built, above what the caller said, and takes the prefix
    out of the config.
    """
    held = getattr(config, "task_specific_params", None)
    if held:
        config.task_specific_params = None
    try:
        yield
    finally:
        if held:
            config.task_specific_params = held


def enter_pipeline(task: str, pipeline_class: Any, auto_class: Any, default: dict[str, Any]) -> None:
    """Make ``pipeline(task)`` build ``pipeline_class``; a task that transformers offers itself is left alone.

    Newer transformers 5 refuse the names of dropped tasks before they ask their registry: so they leave that list.
    """
    from transformers import pipelines  # here, since checkpoints that carry this file need no pipelines

    refused = getattr(pipelines, "REMOVED_TASKS", {})
    if task in pipelines.get_supported_tasks() and task not in refused:
        return
    refused.pop(task, None)
    registry = pipelines.PIPELINE_REGISTRY
    registry.register_pipeline(task, pipeline_class, pt_model=auto_class, default={"model": default}, type="text")
    registry.supported_tasks[task]["default"] = default
    # Without this mark `save_pretrained` saves a model and its tokenizer, as it does for transformers' own tasks;
    # with it, every saved model would ask for trust_remote_code. Saving the code too is the caller's choice there.
    del pipeline_class._registered_impl


def enter_task_names(resolve: Callable[[str, Callable[[str], Any]], Any]) -> None:
    """Let ``resolve(task, theirs)`` answer which pipeline a task's name means; ``theirs`` is transformers' own answer.

    It has no place for names with parts that vary, as ``translation_xx_to_yy``, so the method of its one registry is
    shadowed: on the object, not on its class. May be called again.
    """
    from transformers.pipelines import PIPELINE_REGISTRY

    if "check_task" in vars(PIPELINE_REGISTRY):
        return
    theirs = PIPELINE_REGISTRY.check_task
    PIPELINE_REGISTRY.check_task = lambda task: resolve(task, theirs)  # type: ignore[method-assign]


# The Trainer


class TrainerHooks:
    """Base, before ``Trainer``, of trainers that change its private steps by overriding public methods."""

    def evaluation_sampler(self, dataset: Any) -> Any:
        """Return the sampler of evaluation data."""
        return super()._get_eval_sampler(dataset)  # type: ignore[misc]

    def push_checkpoint(self, checkpoint_folder: str) -> None:
        """Upload what training has come to, after a checkpoint was saved."""
        super()._push_from_checkpoint(checkpoint_folder)  # type: ignore[misc]

    def take_scheduler(self, scheduler: Any) -> Any:
        """Make ``scheduler`` the trainer's own, which a second call of ``train`` replaces."""
        self.lr_scheduler = scheduler
        self._created_lr_scheduler = True
        return scheduler

    def _get_eval_sampler(self, eval_dataset: Any) -> Any:
        return self.evaluation_sampler(eval_dataset)

    def _push_from_checkpoint(self, checkpoint_folder: str) -> None:
        self.push_checkpoint(checkpoint_folder)
