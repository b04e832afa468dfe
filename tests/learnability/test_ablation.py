"""Every mixer was tried in every place where it may stand."""

from hf_rnnattn.model.mixers import MIXERS
from learned import SEEDS, committed
from model_zoo import DECODER_MIXERS, ENCODER_MIXERS


def test_committed_results_are_of_every_mixer_in_every_place() -> None:
    assert [measured["seed"] for measured in committed("ablation")] == SEEDS
    for measured in committed("ablation"):
        for side, mixers in (("encoder", ENCODER_MIXERS), ("decoder", DECODER_MIXERS)):
            assert sorted(model["mixer"] for model in measured["models"] if model["side"] == side) == mixers


def test_recurrence_learns_faster_than_self_attention_in_the_encoder() -> None:
    """At this budget, whatever the seed and whatever the cell."""
    for measured in committed("ablation"):
        losses = {
            model["mixer"]: model["loss_per_phone"] for model in measured["models"] if model["side"] == "encoder"
        }
        recurrent = [loss for mixer, loss in losses.items() if MIXERS[mixer].kind == "recurrent"]
        assert max(recurrent) < losses["full_attention"]
