"""Tables of weights: which of ours is made of which of another toolkit's, each used, none left over."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from huggingface_hub.errors import StrictDataclassClassValidationError, StrictDataclassFieldValidationError
from torch import Tensor

from ..model.configuration_rnnattn import RnnAttnConfig
from ..model.modeling_rnnattn import RnnAttnForConditionalGeneration


def same(tensor: Tensor) -> Tensor:
    """A weight that both toolkits have."""
    return tensor


class Weight(NamedTuple):
    """One weight of ours and what it is made of.

    Args:
        target: our name.
        sources: the toolkit's names; none stands for zeros: a bias that it does not have.
        make: what makes the weight of them.
    """

    target: str
    sources: tuple[str, ...]
    make: Callable[..., Tensor] = same


def linear(target: str, source: str, *, bias: bool = True) -> list[Weight]:
    """A linear layer that both toolkits have; without ``bias``, ours is zero."""
    return [
        Weight(f"{target}.weight", (f"{source}.weight",)),
        Weight(f"{target}.bias", (f"{source}.bias",) if bias else ()),
    ]


def cell(target: str, source: str, suffix: str = "") -> list[Weight]:
    """A recurrent cell in torch's layout: ``weight_ih``, ``weight_hh``, ``bias_ih``, ``bias_hh``, with a suffix."""
    return [
        Weight(f"{target}.{ours}.{kind}", (f"{source}{kind}_{theirs}{suffix}",))
        for ours, theirs in (("input_to_gates", "ih"), ("state_to_gates", "hh"))
        for kind in ("weight", "bias")
    ]


def model_from_table(
    fields: Mapping[str, Any], table: Sequence[Weight], tensors: Mapping[str, Tensor], source: str
) -> RnnAttnForConditionalGeneration:
    """A model with these config fields and weights, in evaluation mode.

    Raises:
        ValueError: a field is out of bounds; a weight is missing, left over, not finite, or of another shape.
    """
    check_names(table, tensors, source)
    try:
        config = RnnAttnConfig(**fields)
    except (StrictDataclassClassValidationError, StrictDataclassFieldValidationError) as error:
        raise ValueError(f"{source}: {error.__cause__ or error}") from error
    with torch.device("meta"):
        model = RnnAttnForConditionalGeneration(config)
    model.load_state_dict(_state(model, table, tensors, source), strict=False, assign=True)
    model.tie_weights()
    return model.eval()


def check_names(table: Iterable[Weight], tensors: Mapping[str, Tensor], source: str) -> None:
    """Raises ValueError unless the table uses every weight of the toolkit and asks for no other."""
    wanted = {name for weight in table for name in weight.sources}
    missing, left = sorted(wanted - tensors.keys()), sorted(tensors.keys() - wanted)
    if missing or left:
        raise ValueError(
            f"{source} does not have the weights that are expected; missing: {', '.join(missing) or 'none'}; "
            f"not understood: {', '.join(left) or 'none'}"
        )


def _state(model: Any, table: Sequence[Weight], tensors: Mapping[str, Tensor], source: str) -> dict[str, Tensor]:
    shapes = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    for target in model.get_expanded_tied_weights_keys(all_submodels=True):
        shapes.pop(target)
    targets = {weight.target for weight in table}
    if shapes.keys() != targets:
        unset, unknown = sorted(shapes.keys() - targets), sorted(targets - shapes.keys())
        raise ValueError(f"{source}: no weight for {', '.join(unset) or 'none'}; no place for {', '.join(unknown)}")
    return {weight.target: _made(weight, shapes[weight.target], tensors, source) for weight in table}


def _made(weight: Weight, shape: tuple[int, ...], tensors: Mapping[str, Tensor], source: str) -> Tensor:
    """One of our weights, of this shape. Each has memory of its own, so that none is tied by accident."""
    if not weight.sources:
        return torch.zeros(shape)
    named = ", ".join(weight.sources)
    try:
        made = weight.make(*[tensors[name].float() for name in weight.sources])
    except RuntimeError as error:  # shapes that do not go together
        raise ValueError(f"{named} in {source} do not fit one another: {error}") from error
    if tuple(made.shape) != shape:
        raise ValueError(f"{named} in {source} must give shape {shape}, got {tuple(made.shape)}")
    if not made.isfinite().all():
        raise ValueError(f"{named} in {source} has values that are not finite")
    return made.clone(memory_format=torch.contiguous_format)
