"""Recurrent + self-attention hybrid encoder-decoders for Hugging Face transformers.

Importing this package registers the family with transformers' Auto classes and gives back the pipelines of version 4:
``text2text-generation``, ``summarization``, ``translation`` and ``question-answering``. The names below are imported
when they are first used, so that the core needs torch, transformers, tokenizers and safetensors only.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # what the lazy names below are, for editors and type checkers
    from .alignment import Alignment, align, align_pairs
    from .model.configuration_rnnattn import RnnAttnConfig
    from .model.heads_causal_rnnattn import RnnAttnForCausalLM
    from .model.heads_rnnattn import (
        RnnAttnEncoderModel,
        RnnAttnForMaskedLM,
        RnnAttnForQuestionAnswering,
        RnnAttnForSequenceClassification,
        RnnAttnForTokenClassification,
    )
    from .model.modeling_rnnattn import (
        RnnAttnDecoder,
        RnnAttnEncoder,
        RnnAttnForConditionalGeneration,
        RnnAttnModel,
        RnnAttnPreTrainedModel,
    )
    from .model.pipeline_qa_rnnattn import QuestionAnsweringPipeline
    from .model.pipeline_rnnattn import Text2TextGenerationPipeline
    from .model.pipeline_tasks_rnnattn import SummarizationPipeline, TranslationPipeline
    from .model.tokenization_rnnattn import RnnAttnTokenizer

__version__ = "0.1.0"

_LAZY = {
    "Alignment": ".alignment",
    "QuestionAnsweringPipeline": ".model.pipeline_qa_rnnattn",
    "RnnAttnConfig": ".model.configuration_rnnattn",
    "RnnAttnDecoder": ".model.modeling_rnnattn",
    "RnnAttnEncoder": ".model.modeling_rnnattn",
    "RnnAttnEncoderModel": ".model.heads_rnnattn",
    "RnnAttnForCausalLM": ".model.heads_causal_rnnattn",
    "RnnAttnForConditionalGeneration": ".model.modeling_rnnattn",
    "RnnAttnForMaskedLM": ".model.heads_rnnattn",
    "RnnAttnForQuestionAnswering": ".model.heads_rnnattn",
    "RnnAttnForSequenceClassification": ".model.heads_rnnattn",
    "RnnAttnForTokenClassification": ".model.heads_rnnattn",
    "RnnAttnModel": ".model.modeling_rnnattn",
    "RnnAttnPreTrainedModel": ".model.modeling_rnnattn",
    "RnnAttnTokenizer": ".model.tokenization_rnnattn",
    "SummarizationPipeline": ".model.pipeline_tasks_rnnattn",
    "Text2TextGenerationPipeline": ".model.pipeline_rnnattn",
    "TranslationPipeline": ".model.pipeline_tasks_rnnattn",
    "align": ".alignment",
    "align_pairs": ".alignment",
}

__all__ = [
    "Alignment",
    "QuestionAnsweringPipeline",
    "RnnAttnConfig",
    "RnnAttnDecoder",
    "RnnAttnEncoder",
    "RnnAttnEncoderModel",
    "RnnAttnForCausalLM",
    "RnnAttnForConditionalGeneration",
    "RnnAttnForMaskedLM",
    "RnnAttnForQuestionAnswering",
    "RnnAttnForSequenceClassification",
    "RnnAttnForTokenClassification",
    "RnnAttnModel",
    "RnnAttnPreTrainedModel",
    "RnnAttnTokenizer",
    "SummarizationPipeline",
    "Text2TextGenerationPipeline",
    "TranslationPipeline",
    "__version__",
    "align",
    "align_pairs",
    "enable_remote_code",
    "register",
]


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_LAZY[name], __name__), name)


def __dir__() -> list[str]:
    return sorted(set(globals()) | set(__all__))


# The auto class of each model. RnnAttnModel stands for AutoModel, which has room for one.
_AUTO_MODELS = {
    "AutoModel": "RnnAttnModel",
    "AutoModelForTextEncoding": "RnnAttnEncoderModel",
    "AutoModelForSeq2SeqLM": "RnnAttnForConditionalGeneration",
    "AutoModelForCausalLM": "RnnAttnForCausalLM",
    "AutoModelForMaskedLM": "RnnAttnForMaskedLM",
    "AutoModelForSequenceClassification": "RnnAttnForSequenceClassification",
    "AutoModelForTokenClassification": "RnnAttnForTokenClassification",
    "AutoModelForQuestionAnswering": "RnnAttnForQuestionAnswering",
}


def register() -> None:
    """Enters the family into transformers' Auto classes and pipelines; called on import, harmless when repeated."""
    import transformers

    from .model.configuration_rnnattn import RnnAttnConfig
    from .model.tokenization_rnnattn import RnnAttnTokenizer
    from .pipelines import register_pipelines

    transformers.AutoConfig.register(RnnAttnConfig.model_type, RnnAttnConfig, exist_ok=True)
    for auto_class, model in _AUTO_MODELS.items():
        getattr(transformers, auto_class).register(RnnAttnConfig, __getattr__(model), exist_ok=True)
    transformers.AutoTokenizer.register(RnnAttnConfig, tokenizer_class=RnnAttnTokenizer, exist_ok=True)
    register_pipelines()


def enable_remote_code() -> None:
    """From now on ``save_pretrained`` and ``push_to_hub`` put the model's code beside its weights.

    Such a checkpoint loads with ``trust_remote_code=True`` where this package is not installed. It is opt-in, because
    it holds for the whole process and because whoever loads the checkpoint must trust its code.
    """
    from .model.configuration_rnnattn import RnnAttnConfig
    from .model.tokenization_rnnattn import RnnAttnTokenizer

    RnnAttnConfig.register_for_auto_class()
    for auto_class, model in _AUTO_MODELS.items():
        __getattr__(model).register_for_auto_class(auto_class)
    RnnAttnTokenizer.register_for_auto_class("AutoTokenizer")


register()
