"""8-bit weights of Marian that stay in 8 bits: the integers of the file, with its own multipliers."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from .marian_names import Weight
from .marian_writing import quantise


def keep_8_bits(model: Any, table: list[Weight]) -> None:
    """Turns the matrices of a student that came from an 8-bit file into weights of torchao, in place.

    A weight W = q / m of Marian becomes q with the scale 1 / m for each of its rows, as ``Int8WeightOnlyConfig`` has
    it, in float64: nothing is rounded again, and it stands for what the file says. Embeddings, and with them the
    output matrix, stay as they are. Such a model is saved by ``save_pretrained`` and loaded by ``from_pretrained``; it
    cannot be trained, except by adapters.

    Args:
        model: as ``model_from_marian`` returns it.
        table: its weights and Marian's names of them.

    Raises:
        ImportError: torchao is not installed.
        ValueError: a matrix was not in 8 bits.
    """
    int8_tensor, config = _torchao()
    matrices = {weight.target: weight for weight in table if weight.form == "matrix"}
    kept: Mapping[str, Tensor] = {
        name: _kept(weight, model.get_parameter(name), int8_tensor) for name, weight in matrices.items()
    }
    for name, weight in kept.items():
        layer = model.get_submodule(name.removesuffix(".weight"))
        layer.weight = nn.Parameter(weight, requires_grad=False)
    _say_so(model, config)


def _kept(weight: Weight, values: Tensor, int8_tensor: Any) -> Tensor:
    """One of our weights (N, K) in 8 bits; the matrices that it is stacked of have a scale each."""
    numbers, scales = [], []
    for name, part in zip(weight.sources, values.detach().float().chunk(len(weight.sources)), strict=True):
        multiplier, integers = quantise(part.numpy())
        if not np.array_equal(integers.astype(np.float32) / multiplier, part.numpy()):
            raise ValueError(f"{name} was not in 8 bits: only a model of an 8-bit file can keep them")
        numbers.append(torch.from_numpy(integers))
        scales.append(torch.full((len(integers), 1), 1.0 / float(multiplier), dtype=torch.float64))
    data = torch.cat(numbers).contiguous()
    kept: Tensor = int8_tensor(
        qdata=data,
        scale=torch.cat(scales),
        block_size=[1, data.shape[1]],
        dtype=torch.float32,
        zero_point=torch.zeros(len(data), 1, dtype=torch.int8),
    )
    return kept


def _torchao() -> tuple[Any, Any]:
    try:
        from torchao.quantization import Int8Tensor, Int8WeightOnlyConfig
    except ImportError as error:
        raise ImportError(
            'weights in 8 bits need the extra "quantization": pip install "hf-rnnattn[quantization]"'
        ) from error
    return Int8Tensor, Int8WeightOnlyConfig()


def _say_so(model: Any, config: Any) -> None:
    """What ``from_pretrained`` leaves in a model that it quantised, so that it is saved as one."""
    from transformers import TorchAoConfig
    from transformers.quantizers import AutoHfQuantizer

    settings = TorchAoConfig(config)
    model.hf_quantizer = AutoHfQuantizer.from_config(settings, pre_quantized=True)
    model.config.quantization_config = settings
    model.is_quantized = True
